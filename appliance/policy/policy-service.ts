/**
 * The policy of a virtual container host: keeps the tiers, compiles them for the containers that there are, and has the result enforced by the
 * host's switch and by the gateway. Everything is done again when a container, a tier or an address of a name changes.
 */
import { createHash } from 'node:crypto';
import { messageOf, unsupported } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { GatewayPolicy, SwitchPolicy } from '../../src/common/policy/compiled.js';
import { Rounds } from '../../src/common/rounds.js';
import { compileForGateway, compileForSwitch, watchedNames } from './compile.js';
import { allowsAll, type OrderedRule, ordered } from './evaluate.js';
import { type Answer, LearnedNames, type SavedNames } from './learned-names.js';
import { lookupsOf } from './lookups.js';
import type { Subject } from './parties.js';
import { readPolicy } from './read-policy.js';
import { NO_POLICY, type Policy, TIERS, type Tier } from './rules.js';
import { Savings } from './savings.js';

const log = logger('policy');

/** What enforces a policy, and where it is kept. */
export interface PolicyPlaces {
  /** Containers that have addresses. */
  subjects(): Subject[];
  /** Addresses of the machine's name servers. */
  resolvers(): readonly string[];
  /** The text of a tier as kept; '' if there is none. */
  read(tier: Tier): Promise<string>;
  /** Keeps the text of the tier `project`. */
  keep(text: string): Promise<void>;
  /** Addresses of outside names, kept over a restart: what containers were told stays true for them. Undefined: nothing is kept. */
  readLearned(): Promise<unknown>;
  keepLearned(names: SavedNames): Promise<void>;
  /** Null: nothing is enforced. @throws unsupported */
  onSwitch(policy: SwitchPolicy | null): Promise<void>;
  /** The same, for what enters and leaves by the gateway. */
  atGateway(policy: GatewayPolicy | null): Promise<void>;
  /** Which outside names matter; null: none. */
  watch(patterns: string[] | null): void;
  /** Which outside names each container may look up, by its id; a container that is not there none. Null: everybody everything. */
  lookups(allowed: ReadonlyMap<string, string[] | null> | null): Promise<void>;
}

export class PolicyService {
  private policy: Policy = NO_POLICY;
  private texts: Record<Tier, string> = { admin: '', project: '', default: '' };
  private readonly learned = new LearnedNames();
  private readonly rounds = new Rounds(() => this.enforce());
  /** What is enforced, as text; '' for nothing. */
  private enforced = { onSwitch: '', atGateway: '' };
  private compiled: { onSwitch: SwitchPolicy | null; atGateway: GatewayPolicy | null } = {
    onSwitch: null,
    atGateway: null,
  };
  /** A tier that cannot be read: no container starts until somebody mends it. */
  private problem: Error | null = null;
  private watched = 'null';
  private readonly savings: Savings;

  constructor(private readonly places: PolicyPlaces) {
    this.savings = new Savings(() => places.keepLearned(this.learned.save()));
  }

  /** Reads what is kept and enforces it. A failure is logged, and keeps containers from starting. */
  async open(): Promise<void> {
    const saved = await this.places.readLearned().catch((error: unknown) => {
      log.warn({ err: messageOf(error) }, 'the addresses of outside names are not known any more');
    });
    this.learned.restore(saved, Date.now());
    await this.reload().catch((error: unknown) =>
      log.error({ err: messageOf(error) }, 'the policy is not in force: no container starts until it is'),
    );
  }

  /** Reads all tiers again: an administrator may have changed his. @throws what is wrong with them */
  async reload(): Promise<void> {
    try {
      const texts = { ...this.texts };
      for (const tier of TIERS) texts[tier] = await this.places.read(tier);
      if (TIERS.every((tier) => texts[tier] === this.texts[tier]) && this.problem === null) return;
      await this.become(texts);
      this.problem = null;
    } catch (error) {
      this.problem = error as Error;
      throw error;
    }
  }

  /** The text of a tier. */
  text(tier: Tier): string {
    return this.texts[tier];
  }

  /** All rules in the order in which they are asked. */
  rules(): OrderedRule[] {
    return ordered(this.policy, this.places.resolvers());
  }

  /** True if something is enforced. */
  get active(): boolean {
    return !allowsAll(this.policy);
  }

  /** The rules of what the switch and the gateway enforce: a rule's number there is its place. */
  get inForce(): { onSwitch: SwitchPolicy | null; atGateway: GatewayPolicy | null } {
    return this.compiled;
  }

  /**
   * Changes the tier `project`, and returns when it is in force.
   * @throws invalid for a text with mistakes; unsupported if nothing here can enforce it; the one before stays in force then
   */
  async setProject(text: string): Promise<void> {
    readPolicy(text, 'project');
    const before = this.texts;
    await this.become({ ...before, project: text });
    try {
      await this.places.keep(text);
    } catch (error) {
      await this.become(before);
      throw error;
    }
  }

  /** A container has got addresses, or has lost them, or is called otherwise. Resolves when that is in force. @throws unsupported */
  async changed(): Promise<void> {
    if (this.problem !== null) throw this.problem;
    if (!this.active && this.enforced.onSwitch === '' && this.enforced.atGateway === '') return;
    await this.rounds.ask();
  }

  /** A container got this answer; it reads it when this has resolved. */
  async heard(answer: Answer): Promise<void> {
    if (!this.active || !this.learned.hear(answer, Date.now())) return;
    this.savings.soon();
    await this.rounds.ask();
  }

  /** Names of an outside address, as far as containers have asked for them. */
  namesOf(address: string): string[] {
    return this.learned.namesOf(address, Date.now());
  }

  /** The gateway's process was started anew. */
  async again(): Promise<void> {
    this.enforced.atGateway = '';
    await this.changed();
  }

  private async become(texts: Record<Tier, string>): Promise<void> {
    const policy = Object.fromEntries(TIERS.map((tier) => [tier, readPolicy(texts[tier], tier)])) as Policy;
    const before = { policy: this.policy, texts: this.texts };
    this.policy = policy;
    this.texts = texts;
    try {
      await this.rounds.ask();
    } catch (error) {
      this.policy = before.policy;
      this.texts = before.texts;
      throw error;
    }
  }

  private async enforce(): Promise<void> {
    const { places, active } = this;
    const rules = this.rules();
    const names = watchedNames(rules);
    const watched = active && names.length > 0 ? names : null;
    if (JSON.stringify(watched) !== this.watched) places.watch(watched);
    this.watched = JSON.stringify(watched);
    const subjects = active ? places.subjects() : [];
    const onSwitch = active ? compileForSwitch(rules, subjects) : null;
    const atGateway = active ? compileForGateway(rules, subjects, this.learned.list(Date.now())) : null;
    const text = onSwitch === null ? '' : JSON.stringify(onSwitch);
    if (text !== this.enforced.onSwitch) {
      await places.onSwitch(onSwitch);
      this.enforced.onSwitch = text;
    }
    this.compiled.onSwitch = onSwitch;
    const other = atGateway === null ? '' : JSON.stringify(atGateway);
    if (other !== this.enforced.atGateway) {
      await places.atGateway(atGateway);
      this.enforced.atGateway = other;
    }
    this.compiled.atGateway = atGateway;
    // Last: a policy that cannot be enforced must leave nothing behind.
    await places.lookups(active ? new Map(subjects.map((one) => [one.id, lookupsOf(rules, one)])) : null);
  }
}

/** How the host says which policy it enforces. */
export const policyDigest = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);

export const NOT_ENFORCED = (): Error =>
  unsupported('policies need the embedded host, whose switch enforces them: this vSphere host does not');
