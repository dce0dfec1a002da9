/** The gateway's cards in its network namespace: their addresses, and how large their packets may be. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { GatewayCard } from './messages.js';

/** An address as `ip --json address` shows it. */
interface Shown {
  local?: string;
  prefixlen?: number;
}

/** Lines for `ip -batch` that give a card its addresses, and take away those that it no longer has. @param before those it has */
export function cardCommands(
  { interface: name, addresses, mtu }: Pick<GatewayCard, 'interface' | 'addresses' | 'mtu'>,
  before: readonly string[],
): string[] {
  return [
    ...before.filter((one) => !addresses.includes(one)).map((one) => `address del ${one} dev ${name}`),
    // An IPv6 address is usable at once: nobody else has it, and it would be refused to a listener meanwhile.
    ...addresses.map((one) => `address replace ${one} dev ${name}${one.includes(':') ? ' nodad' : ''}`),
    ...(mtu > 0 ? [`link set ${name} mtu ${mtu}`] : []),
  ];
}

/** Sets up one card. @param netns path of the gateway's namespace @throws Error of `ip` */
export async function setUpCard(
  netns: string,
  card: Pick<GatewayCard, 'interface' | 'addresses' | 'mtu'>,
): Promise<void> {
  const shown = await ip(netns, ['-json', 'address', 'show', 'dev', card.interface, 'scope', 'global']);
  const [{ addr_info: list = [] } = {}] = JSON.parse(shown) as { addr_info?: Shown[] }[];
  // What `scope` leaves out, some versions show as an object without anything in it.
  const before = list.flatMap(({ local, prefixlen }) => (local === undefined ? [] : `${local}/${prefixlen}`));
  for (const command of cardCommands(card, before)) await ip(netns, command.split(' '));
}

async function ip(netns: string, args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('nsenter', [`--net=${netns}`, '--', 'ip', ...args]);
  return stdout;
}
