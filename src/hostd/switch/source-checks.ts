/**
 * The source checks of a switch: which cards may send from which addresses (`source-rules.ts`).
 *
 * An unknown card is cut off, so it does not matter whether its interface or its entry is made first. Without nftables nothing is checked;
 * {@link problem} then says why.
 */
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { Rounds } from '../../common/rounds.js';
import { elementMessages } from './element-messages.js';
import { nft, nftList } from './ip.js';
import { LeasedAddresses } from './leased-addresses.js';
import { NETFILTER, type Netlink } from './netlink.js';
import {
  type CardSources,
  changesOf,
  type ElementChange,
  type Elements,
  elementsOf,
  parseElements,
  TABLE,
  tableText,
} from './source-rules.js';

const log = logger('switch');

interface Change {
  port: string;
  elements: Elements;
  resolve: () => void;
  reject: (error: unknown) => void;
}

const NOTHING: Elements = new Map();
const FORGET_MS = 300;

/** The checks in one network namespace. Changes that arrive while others are being made are then made together. */
export class SourceChecks {
  /** Why there are no checks; null if they work. */
  problem: string | null = null;
  /** The elements that the kernel has, by port. */
  private known = new Map<string, Elements>();
  private waiting: Change[] = [];
  private readonly rounds = new Rounds(() => this.work());
  private timer: NodeJS.Timeout | undefined;
  private readonly leased: LeasedAddresses;

  /** @param namespacePath the switch's */
  constructor(
    private readonly namespacePath: string,
    private readonly netlink: Netlink,
  ) {
    this.leased = new LeasedAddresses(namespacePath);
  }

  /** Makes the rules. Entries of an earlier hostd stay until their cards change or go. */
  async open(): Promise<void> {
    try {
      await nft(this.namespacePath, tableText());
      await this.look();
      this.problem = null;
    } catch (error) {
      this.problem = messageOf(error).split('\n')[0] ?? '';
      // Half a table would cut everybody off.
      await nft(this.namespacePath, `delete table ${TABLE}`).catch(() => undefined);
    }
  }

  /** Forgets the ports that are not among these. */
  async keep(ports: readonly string[]): Promise<void> {
    this.forget([...this.known.keys()].filter((port) => !ports.includes(port)));
    await this.flush();
  }

  /** Allows a port's card to send from these addresses, once this resolves. @throws internal */
  allow(port: string, card: CardSources): Promise<void> {
    if (this.problem !== null) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.waiting.push({ port, elements: elementsOf(port, card), resolve, reject });
      void this.flush();
    });
  }

  /** Removes the elements of ports that are gone, along with the next change or soon. There is no hurry: their names are not reused. */
  forget(ports: readonly string[]): void {
    const known = ports.filter((port) => this.known.has(port) || this.waiting.some((one) => one.port === port));
    if (this.problem !== null || known.length === 0) return;
    for (const port of known) {
      const reject = (error: unknown): void =>
        log.warn({ port, err: messageOf(error) }, "a card's source checks stay until hostd is started anew");
      this.waiting.push({ port, elements: NOTHING, resolve: () => undefined, reject });
    }
    this.timer ??= setTimeout(() => void this.flush(), FORGET_MS).unref();
  }

  private async flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    await this.rounds.ask();
  }

  private async work(): Promise<void> {
    while (this.waiting.length > 0) {
      const changes = this.waiting;
      this.waiting = [];
      try {
        await this.carryOut(changes);
        for (const change of changes) change.resolve();
      } catch {
        // Either one of the changes is wrong, or the kernel's elements are not what we thought.
        await this.oneByOne(changes);
      }
    }
  }

  private async oneByOne(changes: Change[]): Promise<void> {
    for (const change of changes) {
      try {
        await this.look();
        await this.carryOut([change]);
        change.resolve();
      } catch (error) {
        change.reject(error);
      }
    }
  }

  /** Makes all of the changes or none. */
  private async carryOut(changes: Change[]): Promise<void> {
    const next = new Map(changes.map(({ port, elements }) => [port, elements]));
    // Of these, another card may have the name soon, or has it by now.
    const gone = changes
      .filter(({ port, elements }) => elements.size === 0 && this.known.get(port)?.has('askers') === true)
      .map(({ port }) => port);
    if (gone.length > 0) await this.leased.takeBack(gone);
    const all = [...next].flatMap(([port, elements]) => changesOf(this.known.get(port) ?? NOTHING, elements));
    if (all.length > 0)
      await this.netlink.carryOut(this.namespacePath, NETFILTER, elementMessages(merged(all)), { whole: true });
    for (const [port, elements] of next) {
      if (elements.size === 0) this.known.delete(port);
      else this.known.set(port, elements);
    }
    if ([...next.values()].some((elements) => elements.has('askers'))) this.leased.watch();
  }

  private async look(): Promise<void> {
    this.known = parseElements(await nftList(this.namespacePath, TABLE));
    if ([...this.known.values()].some((elements) => elements.has('askers'))) this.leased.watch();
  }
}

/** The same changes, merged by set. Removals come first, since a card's new elements may be another card's old ones. */
function merged(changes: readonly ElementChange[]): ElementChange[] {
  const all = new Map<string, ElementChange>();
  for (const { verb, set, elements } of [...changes].sort((a, b) => b.verb.localeCompare(a.verb))) {
    const there = all.get(`${verb} ${set}`);
    if (there === undefined) all.set(`${verb} ${set}`, { verb, set, elements: [...elements] });
    else there.elements.push(...elements);
  }
  return [...all.values()];
}
