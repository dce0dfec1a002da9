/**
 * Turns the inventory's news about container VMs into events of machines: a VM appears, is powered on or off (by this endpoint, its
 * guest or an administrator), or vanishes. A container that is found running is adopted.
 */
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { mark } from '../../src/common/trace.js';
import type { ManagedObjectReference } from '../../src/vim25/index.js';
import { isLeased, LEASES_KEY, parseLeases, withLeases } from '../network/leases.js';
import type { NetworkEndpoint } from '../network/types.js';
import { Container } from './container.js';
import type { ExecContext } from './context.js';
import type { Effects } from './effects.js';
import { readSpec } from './kept-spec.js';
import { Machine, type MachineSurroundings } from './machine.js';
import type { SeenPower } from './machine-life.js';
import { foundRest, foundRun } from './run-record.js';
import { readVm, VM_PROPERTIES, type VmReport } from './vm-report.js';
import { channelPath, OWNER_KEY, SPEC_KEY } from './vm-spec.js';

const log = logger('exec');

/** What the observer needs from the rest of the exec component. */
export interface ObserverHands {
  /** Adds a container to the list. */
  track(container: Container): void;
  /** A DHCP server has given a running container another address. @param before its endpoints until now */
  leaseChanged(container: Container, before: readonly NetworkEndpoint[]): void;
  /** An earlier endpoint paused the container and left its machine awake. */
  foundAwake(container: Container): Promise<void>;
  /** It was found running. @param cards MAC addresses of those that its guest has set up */
  foundCards(container: Container, cards: ReadonlySet<string>): void;
}

/** Follows all container VMs. */
export class VmObserver implements MachineSurroundings {
  /** Work caused by the first full picture; null once it is done. */
  private firstWork: Promise<unknown>[] | null = [];
  /** VMs that are being taken down: news about them no longer matters. */
  private readonly disowned = new Set<string>();

  constructor(
    private readonly context: ExecContext,
    private readonly effects: Effects,
    private readonly hands: ObserverHands,
  ) {}

  /** The first full picture is being processed. */
  get opening(): boolean {
    return this.firstWork !== null;
  }

  /** Processes news about a VM. */
  observe(vm: VmReport): void {
    const { config, cache } = this.context;
    if (vm.keys.get(OWNER_KEY) !== config.id || this.disowned.has(vm.ref.value)) return;
    const container = cache.byVm(vm.ref.value) ?? this.discover(vm);
    if (container === null) return;
    const { machine } = container;
    machine.changeVersion = vm.changeVersion;
    const was = machine.on;
    machine.dispatch({ type: 'seen', power: vm.power, trusted: this.opening });
    if (machine.on !== was) mark(`seen ${machine.on ? 'on' : 'off'}`);
    this.takeLeases(container, vm.keys);
    const { status } = vm.power;
    if (status.kind === 'started' && container.running && machine.on)
      container.dispatch({ type: 'started', pid: status.pid });
  }

  /** Addresses that DHCP servers have given to its cards, or given anew. */
  private takeLeases(container: Container, keys: VmReport['keys']): void {
    const { endpoints } = container;
    if (!endpoints.some(isLeased) || !(container.running || container.starting)) return;
    const next = withLeases(endpoints, parseLeases(keys.get(LEASES_KEY)));
    if (next === endpoints) return;
    container.dispatch({ type: 'networks', endpoints: next });
    if (container.running) this.hands.leaseChanged(container, endpoints);
  }

  /** A VM left the inventory. */
  vanished(ref: ManagedObjectReference): void {
    this.disowned.delete(ref.value);
    this.context.cache.byVm(ref.value)?.machine.dispatch({ type: 'gone' });
  }

  /**
   * Removes a container whose process has ended, and leaves its VM to the caller. If the endpoint restarts before the VM is gone, it finds
   * the container exited and removes it again.
   */
  disown({ machine }: Container): void {
    this.disowned.add(machine.ref.value);
    machine.dispatch({ type: 'gone' });
  }

  /** Resolves when all containers of the first picture have been adopted. */
  async opened(): Promise<void> {
    await Promise.all(this.firstWork ?? []);
    this.firstWork = null;
    for (const container of this.context.cache.all())
      if (container.life.kind === 'exited') this.effects.removeIfWished(container);
  }

  // --- machines ------------------------------------------------------------------------------------------------------

  async look(machine: Machine): Promise<SeenPower | null> {
    const [object] = await this.context.client.retrieve([machine.ref], 'VirtualMachine', [...VM_PROPERTIES]);
    if (object === undefined) return null;
    const { props } = object;
    return readVm(machine.ref, (path) => props[path as keyof typeof props]).power;
  }

  found(machine: Machine): void {
    const container = this.context.cache.byVm(machine.ref.value);
    if (container === undefined || machine.report === null) return;
    const adopted = this.adopt(container, machine.report);
    this.firstWork?.push(adopted);
  }

  private discover(vm: VmReport): Container | null {
    const { cache } = this.context;
    const spec = readSpec(vm.keys.get(SPEC_KEY));
    if (spec === null) return null;
    if (cache.get(spec.id) !== undefined) {
      log.warn({ vm: vm.ref.value, container: spec.id }, 'a VM claims to be a container that is another VM: a clone?');
      return null;
    }
    const { record, status, on } = vm.power;
    const container = this.containerOf(spec, vm.ref, vm.uuid, foundRest(record, status, on));
    this.context.networks.places.recall(spec, record?.endpoints ?? []);
    this.hands.track(container);
    return container;
  }

  /** A container and its machine. */
  containerOf(
    spec: Container['spec'],
    ref: ManagedObjectReference,
    uuid: string,
    rest?: ConstructorParameters<typeof Container>[2],
  ): Container {
    return new Container(spec, new Machine(ref, uuid, this), rest, this.effects.carryOut);
  }

  /** A VM that runs although this endpoint did not start it: it ran before the endpoint restarted, or an administrator started it. */
  private async adopt(container: Container, power: SeenPower): Promise<void> {
    const { networks, config } = this.context;
    const { machine } = container;
    if (container.running || container.starting || container.leaving) return;
    const suspended = power.suspended || power.question !== null;
    const { run, recorded } = foundRun(container.facts, { ...power, suspended }, new Date());
    try {
      networks.places.claim(container.spec, run.endpoints);
    } catch (error) {
      log.error({ container: container.id, err: messageOf(error) }, 'a running container has an address in use');
    }
    const channel = machine.channelOn(channelPath(config, container.id));
    channel.release();
    container.dispatch({ type: 'found', run });
    log.info({ container: container.id, name: container.spec.name }, 'found a running container');
    try {
      await machine.channelClosed();
      if (machine.channel === channel) await channel.listen();
      if (container.frozen && !suspended) await this.hands.foundAwake(container);
      if (power.cards !== undefined && !suspended) this.hands.foundCards(container, power.cards);
    } catch (error) {
      log.error({ container: container.id, err: messageOf(error) }, 'no channel to a running container');
    }
    if (recorded) return;
    await this.effects
      .keepRun(container)
      .catch((error: unknown) =>
        log.warn({ container: container.id, err: messageOf(error) }, 'the run of a found container was not recorded'),
      );
  }
}
