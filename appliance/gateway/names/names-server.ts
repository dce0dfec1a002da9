/** Answers containers' questions: what is known at once, everything else when a server has answered it. Knows nothing of sockets. */
import type { NamesAnswer, NamesChange, RefusedLookups } from '../../../src/porter/names-table.js';
import { Forwarder } from './forwarder.js';
import { RateLimit } from './limits.js';
import { type Finding, lookup } from './lookup.js';
import { NamesState } from './names-state.js';
import { blockedAnswer, emptyAnswer, type Question, readQuestion } from './question.js';
import { Refusals } from './refusals.js';
import { CONTAINER_TTL, type Kept, localAnswer, passedAnswer, toldAddresses } from './reply.js';
import type { Transport } from './upstream.js';
import { RCODE, TYPE } from './wire.js';

/** Questions of one asker in a second. Programs that never remember an answer stay below it. */
const QUESTIONS_PER_SECOND = 5000;
/** Of those, questions that others are asked. */
const FORWARDED_PER_SECOND = 500;
/** So long a question waits for its asker to become known: the table follows what happens, and a container may be faster. */
const STRANGER_MS = 4000;
const MAX_STRANGERS = 256;

/** What the server depends on. */
export interface NamesServerParts {
  transport: Transport;
  /** In ms, of a clock that does not jump. */
  now(): number;
  /** Told before the asker is, of names that `NamesChange.reported` lists. The asker waits for it. */
  report(answer: NamesAnswer): Promise<void>;
  /** Told of questions that `NamesContainer.lookups` does not allow, not of each at once. */
  refused(lookups: RefusedLookups): void;
}

/** Called once it is known who asks, or that nobody will be. */
type Waiting = (known: boolean) => void;

export class NamesServer {
  private readonly state = new NamesState();
  private readonly forwarder: Forwarder;
  private readonly questions = new RateLimit(QUESTIONS_PER_SECOND);
  private readonly forwarded = new RateLimit(FORWARDED_PER_SECOND);
  private readonly strangers = new Map<Waiting, string>();
  private readonly refusals: Refusals;
  private turn = 0;

  constructor(private readonly parts: NamesServerParts) {
    this.forwarder = new Forwarder(parts);
    this.refusals = new Refusals(parts.refused, parts.now);
  }

  apply(change: NamesChange): void {
    this.state.apply(change);
    for (const [waiting, asker] of [...this.strangers]) if (this.state.asker(asker) !== undefined) waiting(true);
  }

  /**
   * @param asker address that the message came from, in its canonical form
   * @param limitOf how many bytes the answer to this question may have
   * @returns null: it is not answered
   */
  async answer(asker: string, raw: Buffer, limitOf: (question: Question) => number): Promise<Buffer | null> {
    if (!this.questions.allows(asker, this.parts.now())) return null;
    const reading = readQuestion(raw);
    if (reading.kind === 'nothing') return null;
    if (reading.kind === 'refused') return reading.answer;
    const { question } = reading;
    let found = lookup(this.state, asker, question, this.turn++);
    if (found.kind === 'stranger' && (await this.becomesKnown(asker)))
      found = lookup(this.state, asker, question, this.turn++);
    return this.told(asker, question, found, limitOf(question));
  }

  private async told(asker: string, question: Question, found: Finding, limit: number): Promise<Buffer> {
    switch (found.kind) {
      case 'addresses': {
        const type = question.type === TYPE.A ? 'A' : 'AAAA';
        await this.report(asker, question, () => ({ addresses: found.addresses, ttl: CONTAINER_TTL }));
        return localAnswer(question, type, found.addresses, limit);
      }
      case 'pointer':
        return localAnswer(question, 'PTR', [found.name], limit);
      case 'ask': {
        const { now } = this.parts;
        if (found.servers.length === 0 || !this.forwarded.allows(asker, now()))
          return emptyAnswer(question, RCODE.servFail);
        const kept = await this.forwarder.ask(asker, question, found.servers);
        if (kept === null) return emptyAnswer(question, RCODE.servFail);
        await this.report(asker, question, () => this.addressesOf(kept));
        return passedAnswer(question, kept, now(), limit);
      }
      case 'forbidden':
        this.refusals.add(asker, question.name);
        return blockedAnswer(question);
      case 'noWayOut':
        return emptyAnswer(question, RCODE.servFail);
      case 'elsewhere':
      case 'stranger':
        return emptyAnswer(question, RCODE.refused);
    }
  }

  private addressesOf(kept: Kept): { addresses: string[]; ttl: number } {
    return toldAddresses(kept, this.parts.now());
  }

  private async report(
    asker: string,
    { name, type }: Question,
    told: () => { addresses: string[]; ttl: number },
  ): Promise<void> {
    if (name === null || (type !== TYPE.A && type !== TYPE.AAAA) || !this.state.isReported(name)) return;
    const { addresses, ttl } = told();
    if (addresses.length > 0) await this.parts.report({ asker, name, addresses, ttl });
  }

  private becomesKnown(asker: string): Promise<boolean> {
    if (this.strangers.size >= MAX_STRANGERS) return Promise.resolve(false);
    return new Promise((resolve) => {
      const waiting: Waiting = (known) => {
        clearTimeout(timer);
        this.strangers.delete(waiting);
        resolve(known);
      };
      const timer = setTimeout(() => waiting(false), STRANGER_MS);
      this.strangers.set(waiting, asker);
    });
  }
}
