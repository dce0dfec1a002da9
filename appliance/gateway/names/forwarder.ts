/**
 * Asks servers for names that are no container's. What several askers want to know is asked once; a question that comes back here while it is
 * being asked, because a server asks us, ends in the same way.
 */
import type { AddressPort } from '../../../src/porter/messages.js';
import { AnswerCache } from './answer-cache.js';
import { Shares } from './limits.js';
import type { Question } from './question.js';
import type { Kept } from './reply.js';
import { queryOf, type Transport } from './upstream.js';
import { FLAG, type Message, passedOptions, RCODE, rcodeOf } from './wire.js';

/** Clients ask again after 5 seconds (resolv.conf(5)): by then they have been told something. */
const DEADLINE_MS = 4500;
/** How long a server may take while there are others to ask. */
const TRY_MS = 1500;
/** A server that has failed is asked after all others for so long. */
const BAD_MS = 30_000;
/** As many as resolvers use. */
const MAX_SERVERS = 3;
/** What they say of questions that they cannot answer; another may. */
const UNHELPFUL: ReadonlySet<number> = new Set([RCODE.servFail, RCODE.refused, RCODE.notImp]);
const MAX_FAILED = 1024;
const MAX_UNDER_WAY = 1024;
const MAX_UNDER_WAY_EACH = 128;

/** What the forwarder depends on. */
export interface ForwarderParts {
  transport: Transport;
  /** In ms. */
  now(): number;
}

export class Forwarder {
  private readonly cache = new AnswerCache();
  private readonly underWay = new Map<string, Promise<Kept | null>>();
  private readonly shares = new Shares(MAX_UNDER_WAY_EACH, MAX_UNDER_WAY);
  /** When a server failed, by its address. */
  private readonly failed = new Map<string, number>();
  /** Servers that refuse what has EDNS. */
  private readonly plain = new Set<string>();

  constructor(private readonly parts: ForwarderParts) {}

  /** An answer, that of a server that cannot help if no other comes; null: no answer. */
  async ask(asker: string, question: Question, servers: readonly AddressPort[]): Promise<Kept | null> {
    const key = keyOf(question, servers);
    const known = key === null ? undefined : this.cache.get(key, this.parts.now());
    if (known !== undefined) return known;
    const giveBack = this.shares.take(asker);
    if (giveBack === null) return null;
    try {
      return await (key === null ? this.inquire(question, servers) : this.once(key, question, servers));
    } finally {
      giveBack();
    }
  }

  private once(key: string, question: Question, servers: readonly AddressPort[]): Promise<Kept | null> {
    let asking = this.underWay.get(key);
    if (asking === undefined) {
      asking = this.inquire(question, servers)
        .then((kept) => {
          if (kept !== null) this.cache.set(key, kept);
          return kept;
        })
        .finally(() => this.underWay.delete(key));
      this.underWay.set(key, asking);
    }
    return asking;
  }

  private async inquire(question: Question, servers: readonly AddressPort[]): Promise<Kept | null> {
    const { now } = this.parts;
    const deadline = now() + DEADLINE_MS;
    let unhelpful: Kept | null = null;
    let left = this.order(servers);
    // Those that are silent are asked twice: the question or its answer may have been lost on the way.
    for (const tryMs of [TRY_MS, 2 * TRY_MS]) {
      const silent: AddressPort[] = [];
      for (const server of left) {
        const ms = Math.min(tryMs, deadline - now());
        if (ms <= 0) return unhelpful;
        const message = await this.exchange(server, question, ms).catch(() => null);
        if (message !== null && !UNHELPFUL.has(rcodeOf(message))) {
          this.failed.delete(nameOf(server));
          return { message, at: now() };
        }
        this.fail(server);
        if (message === null) silent.push(server);
        else unhelpful ??= { message, at: now() };
      }
      left = silent;
    }
    return unhelpful;
  }

  /** One server, over TCP if its answer is too large for UDP. @throws Error without an answer */
  private async exchange(server: AddressPort, question: Question, ms: number): Promise<Message> {
    const name = nameOf(server);
    const { transport } = this.parts;
    const began = this.parts.now();
    const left = (): number => Math.max(1, began + ms - this.parts.now());
    let query = queryOf(question, this.plain.has(name));
    let message = await transport.udp(server, query, ms);
    const rcode = message.flags & 0xf;
    if (!this.plain.has(name) && (rcode === RCODE.formErr || rcode === RCODE.notImp)) {
      query = queryOf(question, true);
      message = await transport.udp(server, query, left());
      if ((message.flags & 0xf) === RCODE.none && this.plain.size < 64) this.plain.add(name);
    }
    if ((message.flags & FLAG.truncated) === 0) return message;
    try {
      return await transport.tcp(server, query, left());
    } catch {
      // The asker is told that there is more, and may try it itself.
      return message;
    }
  }

  /** Those that answer first, otherwise as given. */
  private order(servers: readonly AddressPort[]): AddressPort[] {
    const since = this.parts.now() - BAD_MS;
    const bad = (server: AddressPort): boolean => (this.failed.get(nameOf(server)) ?? -Infinity) > since;
    const some = servers.slice(0, MAX_SERVERS);
    return [...some.filter((one) => !bad(one)), ...some.filter(bad)];
  }

  private fail(server: AddressPort): void {
    const now = this.parts.now();
    this.failed.set(nameOf(server), now);
    if (this.failed.size > MAX_FAILED)
      for (const [one, at] of this.failed) if (at <= now - BAD_MS) this.failed.delete(one);
  }
}

const nameOf = ({ address, port }: AddressPort): string => `${address} ${port}`;

/** What makes answers interchangeable; null: the question has something of its asker's, so its answer is for nobody else. */
function keyOf({ wire, flags, edns }: Question, servers: readonly AddressPort[]): string | null {
  if (edns !== null && passedOptions(edns.options).length > 0) return null;
  const asked = servers.map(nameOf).join(',');
  // Recursion is always asked for.
  return `${asked}|${flags & ~FLAG.recursion}|${edns?.secure === true}|${wire.toString('latin1').toLowerCase()}`;
}
