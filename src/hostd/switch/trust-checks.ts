/** The trust levels of cards on container networks (`trust-rules.ts`). A switch without such cards has no table for it. */
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { nft, nftList, nftTables } from './ip.js';
import { type CardTrust, noTrustText, TRUST_TABLE, trustedPorts, trustTable, trustText } from './trust-rules.js';

const log = logger('switch');

/** A port of the switch, and how far its network is trusted; undefined: it is not a container network's. */
export interface TrustPort {
  name: string;
  nic: { trust?: CardTrust | undefined };
}

/** All changes are made one after the other. */
export class TrustChecks {
  /** The ports that have rules, with their text. */
  private readonly known = new Map<string, string>();
  private turn: Promise<unknown> = Promise.resolve();

  /** @param namespacePath the switch's @param failed told why this machine cannot enforce them */
  constructor(
    private readonly namespacePath: string,
    private readonly failed: (why: string) => void,
  ) {}

  /** Finds what an earlier hostd enforced; it stays until the cards change or are gone. @param interfaces those that exist */
  async open(interfaces: readonly string[]): Promise<void> {
    const tables = await nftTables(this.namespacePath).catch((): string[] => []);
    if (!tables.includes(TRUST_TABLE)) return;
    for (const port of trustedPorts(await nftList(this.namespacePath, TRUST_TABLE))) this.known.set(port, '');
    this.forget([...this.known.keys()].filter((port) => !interfaces.includes(port)));
    await this.turn;
  }

  /** Enforces the level of each port, before it is plugged in. */
  async add(ports: readonly TrustPort[]): Promise<void> {
    for (const { name, nic } of ports) {
      if (nic.trust === undefined || nic.trust.level === 'open') this.forget([name]);
      else await this.inTurn(() => this.put(name, nic.trust!));
    }
  }

  /** Removes the rules of ports that are gone. Nobody waits for it: their names are not reused. */
  forget(names: readonly string[]): void {
    for (const name of names.filter((one) => this.known.has(one)))
      void this.inTurn(async () => {
        if (this.known.delete(name)) await nft(this.namespacePath, noTrustText(name));
      }).catch((error: unknown) =>
        log.warn({ port: name, err: messageOf(error) }, "a card's trust level stays until its namespace goes"),
      );
  }

  private async put(name: string, trust: CardTrust): Promise<void> {
    const text = trustText(name, trust);
    if (this.known.get(name) === text) return;
    try {
      await nft(this.namespacePath, `${trustTable()}\n${text}`);
      this.known.set(name, text);
    } catch (error) {
      // The guest enforces it too.
      this.failed(messageOf(error).split('\n')[0] ?? '');
    }
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.turn.then(work);
    this.turn = done.catch(() => undefined);
    return done;
  }
}
