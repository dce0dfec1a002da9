/** The network cards of a container's VM. */
import type { VimClient } from '../../src/vim25/index.js';
import { type Card, cardsOf } from '../network/endpoints.js';
import type { Container } from './container.js';
import { change, type Handle } from './handle.js';
import type { Machine } from './machine.js';

/** A VM's network cards, which are then known. */
export async function readCards(client: VimClient, machine: Machine): Promise<Card[]> {
  const [object] = await client.retrieve([machine.ref], 'VirtualMachine', ['config.hardware']);
  machine.cards = cardsOf(object?.props['config.hardware']?.device ?? []);
  return machine.cards;
}

/** Changes the VM, and forgets which cards it has. */
export async function changeCards(
  client: VimClient,
  { machine, vm }: Pick<Container, 'machine' | 'vm'>,
  join: (handle: Handle) => void,
): Promise<void> {
  try {
    await change(client, vm, machine.changeVersion, join);
  } finally {
    machine.cards = null;
  }
}
