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
  // One process in the usual case, in which it has no address that it should not have.
  const shown = await ip(netns, [
    `address show dev ${card.interface} scope global`,
    ...cardCommands(card, card.addresses),
  ]);
  const before = addressesIn(shown);
  if (before.some((one) => !card.addresses.includes(one))) await ip(netns, cardCommands(card, before));
}

/** The addresses that `ip -json address show` prints, with the lengths of their prefixes. */
function addressesIn(shown: string): string[] {
  const [{ addr_info: list = [] } = {}] = JSON.parse(shown.split('\n')[0]!) as { addr_info?: Shown[] }[];
  // What `scope` leaves out, some versions show as an object without anything in it.
  return list.flatMap(({ local, prefixlen }) => (local === undefined ? [] : `${local}/${prefixlen}`));
}

/** Runs these commands, one after the other, up to the first that fails. @returns what they printed */
async function ip(netns: string, commands: readonly string[]): Promise<string> {
  const running = promisify(execFile)('nsenter', [`--net=${netns}`, '--', 'ip', '-json', '-batch', '-']);
  running.child.stdin?.on('error', () => undefined);
  running.child.stdin?.end(`${commands.join('\n')}\n`);
  return (await running).stdout;
}
