/** The gateway of a virtual container host: its cards, the relay, and the rules that bring packets to it. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { messageOf, unavailable } from '../common/errors.js';
import { logger } from '../common/log.js';
import { egressTable, insideOf, PREPARE } from './egress-rules.js';
import { setUpCard } from './gateway-cards.js';
import type { GatewayCard, GatewayNetwork } from './messages.js';
import { type OutwardPlace, RelayProcess } from './relay-process.js';
import { RelayRates } from './relay-rates.js';
import type { WorkerWatch } from './worker-watch.js';

const log = logger('gateway');

/** A range of one address. */
const alone = (address: string): string => `${address}/${address.includes(':') ? 128 : 32}`;

export class NamespaceGateway {
  readonly relay: RelayProcess;
  private readonly rates: RelayRates;
  private readonly cards = new Map<string, GatewayCard>();
  private place: OutwardPlace = { port: 0, logged: false };
  /** Why packets cannot be brought to the relay; null: they can. */
  private problem: string | null = null;
  private prepared: Promise<void> | null = null;
  /** The networks are known. Until then, rules that an earlier gateway has left stay. */
  private begun = false;
  private steps: Promise<unknown> = Promise.resolve();

  /**
   * @param netns path of its network namespace
   * @param command starts the relay
   * @param again called when the relay was started again, and carries nothing that it was asked for
   */
  constructor(
    private readonly netns: string,
    command: string[],
    again: () => void,
    watch: WorkerWatch | null = null,
  ) {
    this.relay = new RelayProcess(command, again, watch, (place) => {
      this.place = place;
      this.rates.tellAgain();
      return this.inTurn(async () => {
        if (this.begun) await this.applyRules();
      });
    });
    this.rates = new RelayRates(this.relay);
  }

  /** Starts what need not know the networks. @throws unavailable, Error of `sh` */
  prepare(): Promise<void> {
    this.prepared ??= this.inNamespace(['sh', '-c', PREPARE]).then(() => this.relay.start());
    return this.prepared;
  }

  /**
   * Resolves when the relay serves.
   * @param networks their first addresses; each card is set up when {@link network} says all of it
   * @throws unavailable, Error of `sh`
   */
  async start(networks: readonly GatewayNetwork[]): Promise<void> {
    for (const { interface: name, address } of networks)
      this.cards.set(name, {
        ...{ interface: name, addresses: [address], egress: false, internal: false, mtu: 0, rate: 0 },
      });
    this.begun = true;
    await this.prepare();
  }

  /** @throws Error of `ip`; unavailable if the card is to have a way out and cannot */
  network(card: GatewayCard): Promise<void> {
    return this.inTurn(async () => {
      const before = this.cards.get(card.interface);
      this.cards.set(card.interface, card);
      // The rules need not wait for the addresses: they name the card and take the addresses from here.
      const [set] = await Promise.allSettled([setUpCard(this.netns, card), this.applyRules()]);
      if (set.status === 'rejected') {
        if (before === undefined) this.cards.delete(card.interface);
        else this.cards.set(card.interface, before);
        await this.applyRules();
        throw set.reason;
      }
      this.rates.setNetwork(card.addresses, card.rate, before?.addresses ?? []);
      if (card.egress && this.problem !== null)
        throw unavailable(`containers on ${card.interface} do not reach the world outside: ${this.problem}`);
    });
  }

  networkGone(name: string): Promise<void> {
    return this.inTurn(async () => {
      this.rates.setNetwork([], 0, this.cards.get(name)?.addresses ?? []);
      this.cards.delete(name);
      await this.applyRules();
    });
  }

  /** @param rate bytes a second in each direction; 0: as its network says */
  rate(address: string, rate: number): void {
    this.rates.set(alone(address), rate);
  }

  /** The address is no container's any more. */
  async forget(address: string): Promise<void> {
    this.rates.set(alone(address), 0);
    await this.relay.forget(address);
  }

  /** The gateway's own addresses. */
  addresses(): string[] {
    return [...this.cards.values()].flatMap(({ addresses }) => addresses.map((one) => one.split('/')[0]!));
  }

  /**
   * Lets containers reach a port of the gateway's own addresses, through hostd's rules (`src/hostd/switch/gateway-rules.ts`). Without those
   * there is nothing in the way.
   */
  async openService(protocol: 'tcp' | 'udp', port: number): Promise<void> {
    await this.inNamespace(['nft', `add element inet caisson_gateway ${protocol}_services { ${port} }`]).catch(
      (error: unknown) => log.debug({ err: messageOf(error) }, 'the gateway has no rules about its services'),
    );
  }

  private inTurn(step: () => Promise<void>): Promise<void> {
    const done = this.steps.then(step);
    this.steps = done.catch(() => undefined);
    return done;
  }

  private async applyRules(): Promise<void> {
    const cards = [...this.cards.values()];
    this.relay.inside(insideOf(cards));
    this.problem = await this.load(egressTable(cards, this.place)).then(
      () => (this.place.port === 0 ? 'the relay cannot listen for them' : null),
      (error: unknown) => `nftables does not work on this machine (${messageOf(error)})`,
    );
    if (this.problem !== null) log.warn({ why: this.problem }, 'containers do not reach the world outside');
  }

  private async load(rules: string): Promise<void> {
    const child = promisify(execFile)('nsenter', [`--net=${this.netns}`, '--', 'nft', '-f', '-']);
    child.child.stdin?.on('error', () => undefined);
    child.child.stdin?.end(rules);
    await child;
  }

  private async inNamespace(command: string[]): Promise<void> {
    await promisify(execFile)('nsenter', [`--net=${this.netns}`, '--', ...command]);
  }
}
