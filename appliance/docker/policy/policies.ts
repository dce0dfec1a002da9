/** The policy of a virtual container host, with what the engine contributes: containers as they come and go, names as they are answered. */
import type { PortLayer } from '../../../port-layer/index.js';
import { messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import type { Gateway } from '../../gateway/index.js';
import { PolicyService } from '../../policy/index.js';
import type { EventBus } from '../events/event-bus.js';
import { ADMIN_KEY, HostPolicy, type PolicyNames } from './host-policy.js';

const log = logger('policy');

export interface PoliciesParts {
  portLayer: Pick<PortLayer, 'exec' | 'kv' | 'endpoint' | 'startGate' | 'network' | 'onEvent'>;
  gateway: Pick<Gateway, 'policy' | 'policyCounts' | 'policyTrace' | 'onNamesAnswer' | 'onRefusedLookups'>;
  events: EventBus;
  resolvers(): readonly string[];
  /** Resolves when all networks have their gateway. */
  gatewaySettled(): Promise<void>;
  names: PolicyNames;
}

/** What a rule has decided about, in both places. */
export interface RuleCounters {
  rule: string;
  action: string;
  packets: number;
  bytes: number;
}

export class Policies {
  readonly service: PolicyService;
  readonly host: HostPolicy;
  private readonly stop: (() => void)[] = [];
  /** Since this process was started. */
  private refusedLookups = 0;

  constructor(private readonly parts: PoliciesParts) {
    const { portLayer, gateway, resolvers, names } = parts;
    this.host = new HostPolicy(portLayer, gateway, resolvers, names);
    this.service = new PolicyService(this.host);
  }

  /** Enforces what is kept; from then on, what changes. */
  async open(): Promise<void> {
    const { portLayer, gateway, gatewaySettled, events } = this.parts;
    const { endpoint, startGate, network } = portLayer;
    startGate?.set(async (container) => {
      this.host.starts(container);
      await Promise.all([this.service.changed(), gatewaySettled()]);
    });
    gateway.onNamesAnswer((answer) => this.service.heard(answer));
    gateway.onRefusedLookups(({ asker, name, count }) => {
      this.refusedLookups += count;
      const container = this.host.subjects().find(({ addresses }) => addresses.includes(asker))?.name;
      log.info(
        { container: container ?? asker, name, count },
        'a container asked for a name that its policy does not allow',
      );
    });
    const follow = (): void => void this.follow();
    this.stop.push(
      portLayer.onEvent(({ type }) => {
        if (type === 'exited' || type === 'removed') follow();
      }),
      events.listen(({ Type, Action }) => {
        if (Type === 'container' && Action === 'rename') follow();
      }),
      network.onChange(({ type }) => {
        if (type === 'connected' || type === 'disconnected') follow();
      }),
    );
    if (endpoint !== undefined) {
      // An administrator's tiers are a key of the endpoint's machine.
      let last = endpoint.get(ADMIN_KEY);
      const reload = (): void => {
        if (endpoint.get(ADMIN_KEY) === last) return;
        last = endpoint.get(ADMIN_KEY);
        void this.service
          .reload()
          .catch((error: unknown) =>
            log.error({ err: messageOf(error) }, 'the policy is not in force as it is written'),
          );
      };
      this.stop.push(endpoint.onChange(reload));
    }
    await this.service.open();
  }

  /** Containers have changed. Resolves when the policy holds for them as they are; a failure is logged. */
  follow(): Promise<void> {
    return this.service
      .changed()
      .catch((error: unknown) => log.error({ err: messageOf(error) }, 'a policy does not follow its containers'));
  }

  /** The gateway's process was started anew, and has no rules. */
  async again(): Promise<void> {
    await this.service.again();
  }

  /** What every rule that is in force has decided about, in the order of the rules. */
  async counters(): Promise<RuleCounters[]> {
    if (!this.service.active) return [];
    const [onSwitch, atGateway] = await Promise.all([this.host.counts(), this.parts.gateway.policyCounts()]);
    const rows = [...this.service.rules().map(({ id, action }) => ({ rule: id, action: String(action) }))];
    rows.push({ rule: 'unlisted', action: 'drop' });
    const counted = rows.map(({ rule, action }) => {
      const [one, other] = [onSwitch[rule], atGateway[rule]];
      return {
        rule,
        action,
        packets: (one?.packets ?? 0) + (other?.packets ?? 0),
        bytes: (one?.bytes ?? 0) + (other?.bytes ?? 0),
      };
    });
    return [...counted, { rule: 'lookups', action: 'refused', packets: this.refusedLookups, bytes: 0 }];
  }

  close(): void {
    for (const stop of this.stop) stop();
  }
}
