/**
 * The addresses that cards have been given by DHCP, which the kernel writes down (`LEASES` in `source-rules.ts`) and which are taken back here:
 * when a card goes, because the next one may have its interface's name, and when it has got another address.
 */
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { nft, nftSet } from './ip.js';
import { LEASED_SET, TABLE } from './source-rules.js';

const log = logger('switch');
const LOOK_MS = 60_000;
/** A card may use an earlier address for so long after it was given another one, or was offered one. */
const GRACE_SECONDS = 60;

/** An address that a card may use. */
export interface Leased {
  port: string;
  /** IPv4, as a number. */
  address: number;
  /** Seconds since a server gave it, or gave it again. */
  age: number;
}

/** Reads the set from the output of `nft --json list set`. */
export function parseLeased(json: string): Leased[] {
  const { nftables = [] } = JSON.parse(json) as { nftables?: { set?: ListedSet }[] };
  return nftables.flatMap(({ set }) =>
    (set?.elem ?? []).map(({ elem: { val, expires } }) => {
      const [port, address] = val.concat;
      return { port: String(port), address: Number(address), age: (set?.timeout ?? 0) - expires };
    }),
  );
}

interface ListedSet {
  timeout?: number;
  elem?: { elem: { val: { concat: [string, number | string] }; expires: number } }[];
}

/** Those that nobody may use any more. @param gone ports that have lost their cards */
export function outdated(all: readonly Leased[], gone: readonly string[] = []): Leased[] {
  return all.filter(({ port, age }) => {
    const newest = Math.min(...all.filter((one) => one.port === port).map((one) => one.age));
    return gone.includes(port) || (age > newest && newest >= GRACE_SECONDS);
  });
}

/** Those of one switch. */
export class LeasedAddresses {
  private timer: NodeJS.Timeout | undefined;

  /** @param namespacePath the switch's */
  constructor(private readonly namespacePath: string) {}

  /** There are cards that get addresses by DHCP: looks after them from now on. */
  watch(): void {
    this.timer ??= setInterval(() => {
      this.takeBack([]).catch((error: unknown) =>
        log.warn({ err: messageOf(error) }, 'cards may use earlier addresses of theirs for a day'),
      );
    }, LOOK_MS).unref();
  }

  /** Takes back what nobody may use any more. @param gone ports that have lost their cards @throws internal */
  async takeBack(gone: readonly string[]): Promise<void> {
    const old = outdated(parseLeased(await nftSet(this.namespacePath, `${TABLE} ${LEASED_SET}`)), gone);
    if (old.length === 0) return;
    const elements = old.map(({ port, address }) => `"${port}" . 0x${address.toString(16).padStart(8, '0')}`);
    await nft(this.namespacePath, `delete element ${TABLE} ${LEASED_SET} { ${elements.join(', ')} }`);
  }
}
