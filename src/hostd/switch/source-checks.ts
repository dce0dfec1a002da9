/**
 * Keeps the source checks of a switch: which cards may send from which addresses (`source-rules.ts`).
 *
 * A card that nothing was said of is cut off, so it does not matter whether its interface or its entry is there first. Without
 * nftables nothing is checked here; {@link problem} says why.
 */
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { nft } from './ip.js';
import { type CardSources, changeText, type Elements, elementsOf, parseElements, tableText } from './source-rules.js';

const log = logger('switch');

interface Change {
  port: string;
  elements: Elements;
  resolve: () => void;
  reject: (error: unknown) => void;
}

const NOTHING: Elements = new Map();

/** The checks in one network namespace. Changes that come while others are being made go together. */
export class SourceChecks {
  /** Why there are none; null: they work. */
  problem: string | null = null;
  /** What the kernel has, by port. */
  private known = new Map<string, Elements>();
  private waiting: Change[] = [];
  private busy = false;

  /** @param namespacePath of the switch */
  constructor(private readonly namespacePath: string) {}

  /** Makes the rules; entries of an earlier hostd stay until their cards are said to be others or gone. */
  async open(): Promise<void> {
    try {
      await nft(this.namespacePath, tableText());
      await this.look();
      this.problem = null;
    } catch (error) {
      this.problem = messageOf(error).split('\n')[0] ?? '';
    }
  }

  /** Forgets the ports that are not among these. */
  async keep(ports: readonly string[]): Promise<void> {
    await this.forget([...this.known.keys()].filter((port) => !ports.includes(port)));
  }

  /** From when it resolves on, a port's card may send from there. @throws internal */
  allow(port: string, card: CardSources): Promise<void> {
    return this.become(port, elementsOf(port, card));
  }

  /** Cuts ports off, and leaves nothing of them behind. */
  async forget(ports: readonly string[]): Promise<void> {
    const known = ports.filter((port) => this.known.has(port) || this.waiting.some((one) => one.port === port));
    await Promise.all(
      known.map((port) =>
        this.become(port, NOTHING).catch((error: unknown) =>
          log.warn({ port, err: messageOf(error) }, "a card's source checks stay"),
        ),
      ),
    );
  }

  private become(port: string, elements: Elements): Promise<void> {
    if (this.problem !== null) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.waiting.push({ port, elements, resolve, reject });
      if (!this.busy) void this.work();
    });
  }

  private async work(): Promise<void> {
    this.busy = true;
    while (this.waiting.length > 0) {
      const changes = this.waiting;
      this.waiting = [];
      try {
        await this.carryOut(changes);
        for (const change of changes) change.resolve();
      } catch {
        // One of them, or what the kernel has is not what was thought.
        await this.oneByOne(changes);
      }
    }
    this.busy = false;
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

  /** All or none. */
  private async carryOut(changes: Change[]): Promise<void> {
    const next = new Map<string, Elements>();
    const lines: string[] = [];
    for (const { port, elements } of changes) {
      lines.push(...changeText(next.get(port) ?? this.known.get(port) ?? NOTHING, elements));
      next.set(port, elements);
    }
    if (lines.length > 0) await nft(this.namespacePath, lines.join('\n'));
    for (const [port, elements] of next) {
      if (elements.size === 0) this.known.delete(port);
      else this.known.set(port, elements);
    }
  }

  private async look(): Promise<void> {
    this.known = parseElements(await nft(this.namespacePath, 'list table bridge caisson', '--json'));
  }
}
