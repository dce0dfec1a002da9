/** How the endpoint reaches the machine's addresses: through the porter that hostd gives it, or by itself if it was started without one. */
import type { Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { Address4, Address6 } from 'ip-address';
import { unavailable, unsupported } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { relayPath } from '../../src/common/paths.js';
import type { GatewayPolicy } from '../../src/common/policy/compiled.js';
import type { RuleCount } from '../../src/common/policy/nft-rules.js';
import type { ProbePacket } from '../../src/common/policy/probe-packet.js';
import {
  type AddressPort,
  type Counter,
  type GatewayCard,
  type GatewayNetwork,
  type PolicyAnswer,
  type PorterAnswer,
  type PorterRequest,
  type Protocol,
  type ServePlace,
  toldError,
} from '../../src/porter/messages.js';
import type { NamesAnswer, NamesChange, RefusedLookups } from '../../src/porter/names-table.js';
import { RelayProcess } from '../../src/porter/relay-process.js';

const log = logger('gateway');
/** hostd ends a porter that hangs long before this (`src/common/watchdog.ts`), and this process with it. */
const ANSWER_MS = 60_000;
/** For the first requests: a worker has to be started, on a machine that may be busy starting many. */
const BEGIN_MS = 300_000;

/** Makes ready what an asker needs to reach the addresses that it is about to be told. */
export type NamesObserver = (answer: NamesAnswer) => Promise<void> | void;

/** Serves published ports and names, and carries what containers send. */
export interface Gateway {
  /** @param networks those on which it is the containers' gateway @throws unavailable */
  start(networks: GatewayNetwork[]): Promise<void>;
  /**
   * Listens for the port `id` on an address of the machine. Connections wait for {@link target}.
   * @param port 0: any free one
   * @returns the port
   * @throws Error of listen(2) or bind(2), unavailable
   */
  publish(id: number, protocol: Protocol, host: string, port: number): Promise<number>;
  target(id: number, address: string, port: number): void;
  close(id: number): void;
  /** Whether published ports can lead to a network with these subnets (CIDR). */
  reaches(subnets: readonly string[]): boolean;
  /** Sets up one of its cards, or changes it. @throws unavailable, unsupported without a porter */
  network(card: GatewayCard): Promise<void>;
  /** The card is about to go, or has gone. */
  networkGone(name: string): Promise<void>;
  /**
   * Carries what is sent to `inner`, on the containers' side, to `outer`, as seen from the machine, until {@link close}.
   * @param inner.port 0: any free one
   * @returns the port of `inner`
   * @throws unavailable, unsupported without a porter, invalid for what the virtual container host was not granted
   */
  forward(id: number, protocol: Protocol, inner: AddressPort, outer: AddressPort): Promise<number>;
  /** How many bytes a second are carried in each direction for an address of a container; 0: as its network says. */
  rate(address: string, rate: number): void;
  /** An address is no container's any more: what was carried for it no longer counts. */
  forget(address: string): void;
  /** What the relay has carried, by address. */
  counters(): Promise<Counter[]>;
  /** Changes what containers may look up. Resolves when they are answered accordingly. @throws unavailable while nobody answers them */
  names(change: NamesChange): Promise<void>;
  /** What containers may send to the outside, and it to them; null: everything. @throws unsupported if that cannot be enforced */
  policy(policy: GatewayPolicy | null): Promise<void>;
  /** What each rule of the policy has decided about. */
  policyCounts(): Promise<Record<string, RuleCount>>;
  /** Watches for a packet; null: no longer, and the answer says what has become of it. */
  policyTrace(packet: ProbePacket | null): Promise<PolicyAnswer['trace']>;
  /** @param observer is told of the addresses that an asker is about to be told (`NamesChange.reported`); the asker waits for it */
  onNamesAnswer(observer: NamesObserver): void;
  /** @param observer is told of questions that `NamesContainer.lookups` did not allow, not of each at once */
  onRefusedLookups(observer: (lookups: RefusedLookups) => void): void;
  stop(): void;
}

/** Uses a relay that this process starts itself, in its own network namespace. */
export class OwnGateway implements Gateway {
  private readonly relay: RelayProcess;

  /**
   * @param onDeath called when all published ports have to be set up again
   * @param ownAddresses those of this machine
   */
  constructor(
    onDeath: () => void,
    program = relayPath(),
    private readonly ownAddresses = machineAddresses,
  ) {
    this.relay = new RelayProcess([program], onDeath);
  }

  start(): Promise<void> {
    return this.relay.start();
  }

  publish(id: number, protocol: Protocol, host: string, port: number): Promise<number> {
    return this.relay.publish(id, protocol, host, port);
  }

  target(id: number, address: string, port: number): void {
    this.relay.target(id, address, port);
  }

  close(id: number): void {
    this.relay.close(id);
  }

  /** It dials from an address of its own there: the containers' machines take nothing from elsewhere. */
  reaches(subnets: readonly string[]): boolean {
    return this.ownAddresses().some((address) => subnets.some((subnet) => isWithin(address, subnet)));
  }

  /** Its cards are those of the machine that it runs on, which are not its to change. */
  async network(): Promise<void> {}

  async networkGone(): Promise<void> {}

  async policy(policy: GatewayPolicy | null): Promise<void> {
    if (policy !== null) throw unsupported('only a gateway with a porter enforces a policy');
  }

  async policyCounts(): Promise<Record<string, RuleCount>> {
    return {};
  }

  async policyTrace(): Promise<PolicyAnswer['trace']> {
    return undefined;
  }

  async forward(): Promise<number> {
    throw unsupported('only a gateway with a porter forwards anything');
  }

  /** Without a porter nothing that a container sends passes by here. */
  rate(): void {}

  forget(address: string): void {
    void this.relay.forget(address).catch(() => undefined);
  }

  counters(): Promise<Counter[]> {
    return this.relay.counters();
  }

  /** Containers have no names there. */
  async names(): Promise<void> {}

  onNamesAnswer(): void {}

  onRefusedLookups(): void {}

  stop(): void {
    this.relay.stop();
  }
}

const machineAddresses = (): string[] =>
  Object.values(networkInterfaces()).flatMap((all = []) => all.map(({ address }) => address));

function isWithin(address: string, subnet: string): boolean {
  if (address.includes(':') !== subnet.includes(':')) return false;
  return address.includes(':')
    ? new Address6(address).isInSubnet(new Address6(subnet))
    : new Address4(address).isInSubnet(new Address4(subnet));
}

/** The IPC channel that this process was started with: its other end is the porter. */
export interface PorterChannel {
  send(message: PorterRequest): void;
  onMessage(heard: (message: PorterAnswer, socket: unknown) => void): void;
}

/** The channel to the porter; null if this process was started without one. */
export function porterChannel(): PorterChannel | null {
  if (process.send === undefined) return null;
  // Nothing on the machine can be reached without it. Whoever started both will start both again.
  process.on('disconnect', () => process.exit(1));
  return {
    send: (message) => void process.send?.(message),
    onMessage: (heard) => process.on('message', (message, socket) => heard(message as PorterAnswer, socket)),
  };
}

/** What a request was answered with. */
interface Answer {
  port?: number;
  counters?: Counter[];
  policy?: PolicyAnswer;
  socket: unknown;
}

const nothing = (): void => undefined;

interface Waiting {
  /** It timed out, so nobody wants the result any more. */
  late: boolean;
  giveUp(socket: unknown): void;
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

/** Uses the porter. */
export class PorterGateway implements Gateway {
  private readonly waiting = new Map<number, Waiting>();
  private last = 0;
  private observer: NamesObserver = nothing;
  private refusals: (lookups: RefusedLookups) => void = nothing;

  /**
   * @param onDeath called when all published ports and forwards have to be set up again
   * @param onNamesStart called when the table of names has to be sent
   */
  constructor(
    private readonly porter: PorterChannel,
    onDeath: () => void,
    onNamesStart: () => void = nothing,
    private readonly answerMs = ANSWER_MS,
    private readonly beginMs = BEGIN_MS,
  ) {
    porter.onMessage((message, socket) => {
      if (message.kind === 'again') {
        if (message.of === 'relay') onDeath();
        else onNamesStart();
        return;
      }
      if (message.kind === 'report') {
        void this.report(message.id, message.answer);
        return;
      }
      if (message.kind === 'refused') {
        this.refusals(message.lookups);
        return;
      }
      const waiting = this.waiting.get(message.request);
      this.waiting.delete(message.request);
      if (waiting?.late === true) {
        if (message.kind === 'done') waiting.giveUp(socket);
      } else if (message.kind === 'failed') waiting?.reject(toldError(message.error));
      else waiting?.resolve({ ...message, socket });
    });
  }

  async start(networks: GatewayNetwork[]): Promise<void> {
    await this.ask((request) => ({ kind: 'gateway', request, networks }), this.beginMs, nothing);
  }

  async publish(id: number, protocol: Protocol, host: string, port: number): Promise<number> {
    const answer = await this.ask(
      (request) => ({ kind: 'publish', request, id, protocol, host, port }),
      this.answerMs,
      () => this.close(id),
    );
    return answer.port ?? port;
  }

  target(id: number, address: string, port: number): void {
    this.porter.send({ kind: 'target', id, address, port });
  }

  close(id: number): void {
    this.porter.send({ kind: 'close', id });
  }

  /** It has an address on every network. */
  reaches(): boolean {
    return true;
  }

  rate(address: string, rate: number): void {
    this.porter.send({ kind: 'rate', address, rate });
  }

  forget(address: string): void {
    this.porter.send({ kind: 'forget', address });
  }

  async network(card: GatewayCard): Promise<void> {
    await this.ask((request) => ({ kind: 'network', request, ...card }), this.answerMs, nothing);
  }

  async networkGone(name: string): Promise<void> {
    await this.ask((request) => ({ kind: 'network-gone', request, interface: name }), this.answerMs, nothing);
  }

  async forward(id: number, protocol: Protocol, inner: AddressPort, outer: AddressPort): Promise<number> {
    const answer = await this.ask(
      (request) => ({ kind: 'forward', request, id, protocol, inner, outer }),
      this.answerMs,
      () => this.close(id),
    );
    return answer.port ?? inner.port;
  }

  async policy(policy: GatewayPolicy | null): Promise<void> {
    await this.ask((request) => ({ kind: 'policy', request, policy }), this.answerMs, nothing);
  }

  async policyCounts(): Promise<Record<string, RuleCount>> {
    const answer = await this.ask((request) => ({ kind: 'policy-counts', request }), this.answerMs, nothing);
    return answer.policy?.counts ?? {};
  }

  async policyTrace(packet: ProbePacket | null): Promise<PolicyAnswer['trace']> {
    const answer = await this.ask((request) => ({ kind: 'policy-trace', request, packet }), this.answerMs, nothing);
    return answer.policy?.trace;
  }

  async counters(): Promise<Counter[]> {
    const answer = await this.ask((request) => ({ kind: 'counters', request }), this.answerMs, nothing);
    return answer.counters ?? [];
  }

  async names(change: NamesChange): Promise<void> {
    await this.ask((request) => ({ kind: 'names', request, change }), this.answerMs, nothing);
  }

  onNamesAnswer(observer: NamesObserver): void {
    this.observer = observer;
  }

  onRefusedLookups(observer: (lookups: RefusedLookups) => void): void {
    this.refusals = observer;
  }

  /** The porter ends with this process. */
  stop(): void {}

  /** A listening socket at the place where the Docker API is to be served. @throws Error of listen(2) */
  async serve(place: ServePlace): Promise<Server> {
    const { socket } = await this.ask(
      (request) => ({ kind: 'serve', request, place }),
      this.beginMs,
      (late) => void (late as Server | undefined)?.close(),
    );
    if (socket === undefined) throw unavailable('the porter sent no socket');
    return socket as Server;
  }

  private async report(id: number, answer: NamesAnswer): Promise<void> {
    try {
      await this.observer(answer);
    } catch (error) {
      log.error({ err: error }, 'an answer to a question for a name could not be taken into account');
    }
    this.porter.send({ kind: 'reported', id });
  }

  /** @param giveUp undoes what an answer that comes too late has done @throws unavailable when no answer comes */
  private ask(
    message: (request: number) => PorterRequest,
    ms: number,
    giveUp: (socket: unknown) => void,
  ): Promise<Answer> {
    const request = ++this.last;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.late = true;
        reject(unavailable(`the porter has not answered for ${ms / 1000} s`));
      }, ms);
      const waiting: Waiting = {
        late: false,
        giveUp,
        resolve: (answer) => {
          clearTimeout(timer);
          resolve(answer);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      this.waiting.set(request, waiting);
      this.porter.send(message(request));
    });
  }
}
