/** Loading a boot snapshot's device state into a QEMU that waits for it. */
import { internal, messageOf, timeout } from '../../common/errors.js';
import { within } from '../../common/within.js';
import type { QemuDialect } from './capabilities.js';
import { incomingState, MIGRATION_CAPABILITIES } from './command-line.js';
import type { Qmp } from './qmp.js';

/** Loading takes 0.02 s on an idle machine. */
const LOAD_MS = 30_000;

/** A VM did not resume from its boot snapshot, and the snapshot is to blame: no other VM would resume from it either. */
export class BadSnapshot extends Error {
  override readonly name = 'BadSnapshot';
}

/**
 * Runs a part of a start that depends on the snapshot. @param guilty tells whether the snapshot is to blame for a failure
 * @throws BadSnapshot if it is, else the failure itself
 */
export async function onSnapshot<T>(guilty: () => Promise<boolean>, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (error instanceof BadSnapshot || !(await guilty())) throw error;
    throw new BadSnapshot(messageOf(error), { cause: error });
  }
}

/** Resolves when the state is loaded: the VM runs, or is stopped if QEMU was started with `-S`. @throws BadSnapshot, internal, timeout */
export async function loadState(qmp: Qmp, dialect: Pick<QemuDialect, 'state'>): Promise<void> {
  const capabilities = [...MIGRATION_CAPABILITIES.capabilities, { capability: 'events', state: true }];
  let over = (): void => undefined;
  const loaded = new Promise<void>((resolve, reject) => {
    const event = (name: string, { status }: Record<string, unknown>): void => {
      if (name !== 'MIGRATION') return;
      if (status === 'completed') resolve();
      else if (status === 'failed') reject(new BadSnapshot('QEMU cannot load the state of the boot snapshot'));
    };
    const closed = (): void => reject(internal('QEMU has ended'));
    qmp.on('event', event).once('close', closed);
    over = () => void qmp.off('event', event).off('close', closed);
  });
  loaded.catch(() => undefined);
  try {
    await qmp.command('migrate-set-capabilities', { capabilities });
    await qmp.command('migrate-incoming', incomingState(dialect));
    await within(loaded, LOAD_MS, () => {
      throw timeout('QEMU does not load the state of the boot snapshot in time');
    });
  } finally {
    over();
  }
}
