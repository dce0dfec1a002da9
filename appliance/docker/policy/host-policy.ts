/** Where a virtual container host's policy is kept and enforced: keys of the endpoint's VM, the key-value store, the gateway. */
import { randomUUID } from 'node:crypto';
import type { ContainerInfo, EndpointKeys, PortLayer } from '../../../port-layer/index.js';
import { internal, unsupported } from '../../../src/common/errors.js';
import type { GatewayPolicy, SwitchPolicy } from '../../../src/common/policy/compiled.js';
import type { RuleCount } from '../../../src/common/policy/nft-rules.js';
import type { ProbePacket } from '../../../src/common/policy/probe-packet.js';
import type { Gateway } from '../../gateway/index.js';
import {
  NOT_ENFORCED,
  type PolicyPlaces,
  policyDigest,
  type SavedNames,
  type Subject,
  type Tier,
} from '../../policy/index.js';
import { recordOf } from '../containers/container-record.js';

const POLICY_KEY = 'caisson.policy';
const ENFORCED_KEY = 'caisson.policy.enforced';
const ASK_KEY = 'caisson.policy.ask';
const ANSWER_KEY = 'caisson.policy.answer';
/** `{admin, default}`: the texts of an administrator's tiers. vic-machine sets it. */
export const ADMIN_KEY = 'caisson.policy.admin';
/** In the key-value store. */
const PROJECT = 'policy-project.yaml';
const LEARNED = 'policy-names.json';

/** A container that has not got its addresses by then will not. */
const AWAITED_MS = 120_000;

/** A packet to be sent, and what came of it: as hostd has them. */
export interface Probe {
  /** Of a card, or `gateway`. */
  fromMac: string;
  toMac: string;
  packet: ProbePacket;
}

export interface ProbeOutcome {
  rule?: number;
  delivered: boolean;
  droppedIn?: string;
}

/** What a policy asks of the server of names. */
export interface PolicyNames {
  /** Which outside names' answers are to be told; null: none. */
  watch(patterns: string[] | null): void;
  /** See `PolicyPlaces.lookups`. */
  restrict(allowed: ReadonlyMap<string, string[] | null> | null): Promise<void>;
}

export type PolicyHostParts = Pick<PortLayer, 'exec' | 'kv' | 'endpoint'>;

/** What the policy needs of the engine. */
export class HostPolicy implements PolicyPlaces {
  /** Containers that are about to get addresses, as they will be, and since when. */
  private readonly awaited = new Map<string, { container: ContainerInfo; since: number }>();
  private turn: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly parts: PolicyHostParts,
    private readonly gateway: Pick<Gateway, 'policy'>,
    readonly resolvers: () => readonly string[],
    private readonly names: PolicyNames,
  ) {}

  /** The container is about to have these endpoints. */
  starts(container: ContainerInfo): void {
    this.awaited.set(container.spec.id, { container, since: Date.now() });
  }

  subjects(): Subject[] {
    const all = this.parts.exec.list();
    const known = new Map(all.map((one) => [one.spec.id, one]));
    for (const [id, { container, since }] of this.awaited) {
      const now = known.get(id);
      const arrived = container.endpoints.every(({ mac }) =>
        now?.endpoints.some((one) => one.mac === mac && isPlaced(one)),
      );
      const waits = now !== undefined && ['created', 'exited', 'starting', 'running'].includes(now.state);
      if (arrived || !waits || Date.now() - since > AWAITED_MS) this.awaited.delete(id);
    }
    return all.map((one) => this.awaited.get(one.spec.id)?.container ?? one).flatMap(subjectOf);
  }

  async read(tier: Tier): Promise<string> {
    const { kv, endpoint } = this.parts;
    if (tier === 'project') return (await kv.get(PROJECT))?.toString('utf8') ?? '';
    if (endpoint?.known !== true) return '';
    // Not as last heard of: whoever asks has just set it.
    const text = await endpoint.read(ADMIN_KEY);
    if (text === undefined) return '';
    const tiers = JSON.parse(text) as Partial<Record<Tier, unknown>>;
    return String(tiers[tier] ?? '');
  }

  async keep(text: string): Promise<void> {
    const { kv } = this.parts;
    if (text === '') await kv.delete(PROJECT);
    else await kv.put(PROJECT, Buffer.from(text));
  }

  async readLearned(): Promise<unknown> {
    const text = await this.parts.kv.get(LEARNED);
    return text === undefined || text === null ? undefined : (JSON.parse(text.toString('utf8')) as unknown);
  }

  keepLearned(names: SavedNames): Promise<void> {
    return this.parts.kv.put(LEARNED, Buffer.from(JSON.stringify(names)));
  }

  async onSwitch(policy: SwitchPolicy | null): Promise<void> {
    const endpoint = this.keys();
    const text = policy === null ? '' : JSON.stringify(policy);
    await endpoint.set({ [POLICY_KEY]: text });
    // A host that knows nothing of policies keeps the key and does nothing.
    if (policy !== null && (await endpoint.read(ENFORCED_KEY)) !== policyDigest(text)) {
      await endpoint.set({ [POLICY_KEY]: '' });
      throw NOT_ENFORCED();
    }
  }

  atGateway(policy: GatewayPolicy | null): Promise<void> {
    return this.gateway.policy(policy);
  }

  watch(patterns: string[] | null): void {
    this.names.watch(patterns);
  }

  lookups(allowed: ReadonlyMap<string, string[] | null> | null): Promise<void> {
    return this.names.restrict(allowed);
  }

  /** What each rule on the switch has decided about. */
  async counts(): Promise<Record<string, RuleCount>> {
    const { counts = {} } = await this.ask({});
    return counts as Record<string, RuleCount>;
  }

  /** Sends a packet over the switch. */
  async probe(probe: Probe): Promise<ProbeOutcome> {
    return (await this.ask({ probe })).probe as ProbeOutcome;
  }

  /** One question at a time: there is one key for the answer. */
  private ask(question: object): Promise<Record<string, unknown>> {
    const done = this.turn.then(async () => {
      const endpoint = this.keys();
      const id = randomUUID();
      await endpoint.set({ [ASK_KEY]: JSON.stringify({ id, ...question }) });
      const answer = JSON.parse((await endpoint.read(ANSWER_KEY)) ?? '{}') as Record<string, unknown>;
      if (answer.id !== id) throw NOT_ENFORCED();
      if (typeof answer.error === 'string') throw internal(`the host could not tell: ${answer.error}`);
      return answer;
    });
    this.turn = done.catch(() => undefined);
    return done;
  }

  private keys(): EndpointKeys {
    const { endpoint } = this.parts;
    if (endpoint === undefined) throw unsupported('this endpoint has no virtual machine, so nothing enforces a policy');
    return endpoint;
  }
}

/** Its card may be used: a container that does not run has no addresses, and one by DHCP comes later. */
const isPlaced = ({ address, address6, external }: ContainerInfo['endpoints'][number]): boolean =>
  address !== '' || address6 !== '' || external?.dhcp === true;

/** None for a container without addresses. */
function subjectOf(container: ContainerInfo): Subject[] {
  const { spec, endpoints } = container;
  const placed = endpoints.filter(isPlaced);
  if (placed.length === 0) return [];
  return [
    {
      id: spec.id,
      name: spec.name,
      labels: recordOf(container).config.Labels ?? {},
      networks: placed.map(({ network }) => network),
      macs: placed.map(({ mac }) => mac.toLowerCase()),
      // Which address DHCP has given is the guest's word: it counts for nothing here.
      addresses: placed
        .filter(({ external }) => external?.dhcp !== true)
        .flatMap(({ address, address6 }) => [address, address6])
        .filter((one) => one !== ''),
    },
  ];
}
