/** Starts a container: its VM gets a program and is powered on, and then its process runs or reports why it cannot. */
import { isKind, messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { compileProgram } from '../../tether/program/compile.js';
import { exitCodeOf, PortLayerError } from '../errors.js';
import { FIRST_PROCESS } from '../interaction/patience.js';
import { type Card, cardsFor, isThere } from '../network/endpoints.js';
import { awaitsLease } from '../network/leases.js';
import { addressed } from '../storage/nfs-address.js';
import { volumeDisks } from '../storage/volume-disks.js';
import { readCards } from './cards.js';
import type { Container } from './container.js';
import { restOf } from './container-life.js';
import type { ContainerSpec } from './container-spec.js';
import type { ExecContext } from './context.js';
import { change } from './handle.js';
import { keptSpec } from './kept-spec.js';
import { programSpec } from './program-spec.js';
import { newRecord, RUN_KEY } from './run-record.js';
import { environmentProblem, isGuestsWord } from './run-status.js';
import type { Preparation } from './types.js';
import { ADDRESSES_KEY, addressesValue, channelPath, PROGRAM_KEY, SPEC_KEY, trustKeys } from './vm-spec.js';
import {
  joinVolumeChanges,
  networkCards,
  readVolumeHardware,
  type VolumeChanges,
  volumeChanges,
} from './volume-hardware.js';

const log = logger('exec');
/** Extra time per volume: a busy emulated machine takes long to find and mount many disks. */
const VOLUME_MS = 3000;
/** A guest that cannot start its process powers itself off within this time. */
const GUEST_OFF_MS = 10_000;
/** After its process has ended, a VM takes up to this long to power off. */
const ENDING_MS = 10_000;
/** Within this time we learn that a VM that we powered off is off. */
const SEEN_OFF_MS = 4000;
/** Within this time we learn what the guest has told its host. */
const LEASE_NEWS_MS = 10_000;
/** The exit code of a start that failed before there was a process. */
const START_FAILED = 128;

/** Starts containers. */
export class Starter {
  /** Their specs may be others than those kept with their VMs: a start has failed in between. */
  private readonly unkept = new WeakSet<Container>();

  constructor(private readonly context: ExecContext) {}

  /** See `ExecService.start`. Callers must hold the container ({@link Container.exclusive}). */
  async start(container: Container, prepare?: () => Promise<Preparation>): Promise<void> {
    // A caller that has just seen the process end may start it again at once.
    if (container.ending) await container.until(() => !container.ending, { ms: ENDING_MS });
    if (container.running) throw new PortLayerError('container.alreadyRunning', { container: container.id });
    if (container.leaving) throw new PortLayerError('start.beingRemoved', {});
    container.dispatch({ type: 'start' });
    const former = container.spec;
    try {
      await this.attempt(container, prepare);
    } catch (error) {
      this.abort(container, error);
      await this.takeDown(container);
      container.dispatch({ type: 'offOrLeft' });
    } finally {
      this.context.sharing.dismiss(container);
    }
    const { failure } = container.facts;
    if (failure === null) return;
    // The VM still has its previous hardware.
    if (former.hardware !== undefined) container.spec = { ...container.spec, hardware: former.hardware };
    throw failure;
  }

  /** Resolves when its process runs or has run. */
  private async attempt(container: Container, prepare?: () => Promise<Preparation>): Promise<void> {
    // Once it is admitted, nobody else takes its volumes. Wait for those who have them now, to read or change files.
    const { volumes, volumeUse, sharing } = this.context;
    await sharing.admit(container);
    await volumeUse.free(container.spec);
    for (const { volume, readOnly } of volumeDisks(container.spec))
      if (readOnly && !volumeUse.isClient(container.spec, volume)) await volumes.recover(volume);
    const over = new AbortController();
    // Its guest waits for a volume that is not served yet.
    sharing.served(container, over.signal).catch((error: unknown) => {
      if (!over.signal.aborted) this.abort(container, error);
    });
    try {
      await this.untilItRuns(container, prepare);
    } finally {
      over.abort();
    }
  }

  private async untilItRuns(container: Container, prepare?: () => Promise<Preparation>): Promise<void> {
    await this.powerOn(container, (await prepare?.()) ?? { annotations: {} });
    const ms = FIRST_PROCESS.mostMs + VOLUME_MS * volumeDisks(container.spec).length;
    if (!(await container.until(() => container.life.kind !== 'powering', { ms }))) {
      const { machine, channel } = container;
      const known = { machine: machine.life, connected: channel?.isConnected ?? false, said: machine.report?.status };
      log.warn({ container: container.id, ...known }, 'a VM does not start its process: what is known of it');
      throw new PortLayerError('start.tooLate', {});
    }
    if (container.life.kind === 'failing') throw container.life.reason;
    await leased(container);
  }

  private async powerOn(container: Container, { annotations, links }: Preparation): Promise<void> {
    const { client, config, networks } = this.context;
    const { machine, spec: former } = container;
    const rest = restOf(container.life);
    const { links: _ended, hardware, sharing: _shared, ...lasting } = former;
    const sharing = this.context.sharing.wanted(container);
    const spec: ContainerSpec = {
      ...lasting,
      ...(links === undefined ? {} : { links }),
      annotations: { ...former.annotations, ...annotations },
      ...(sharing.length === 0 ? {} : { sharing }),
    };
    spec.networks = networks.places.identified(spec.networks);
    const places = spec.networks.map((wish) => ({ ...networks.places.attachmentOf(wish), mac: wish.mac }));
    const shared = await this.volumeChanges(container, spec);
    const known = shared?.cards ?? machine.cards ?? (await readCards(client, machine));
    const cards = cardsFor(places, networkCards(known, former));
    const endpoints = networks.places.bind(
      spec,
      cards.map((card) => card?.mac ?? ''),
    );
    // Its addresses mean something before it can send from them.
    await this.context.gate.pass(container, endpoints);
    const wrong = environmentProblem(spec.process.env);
    if (wrong !== undefined)
      throw new PortLayerError('process.badEnvironment', { of: 'container', exitCode: START_FAILED, ...wrong });
    const channel = machine.channelOn(channelPath(config, container.id));
    channel.release();
    await machine.channelClosed();
    await channel.listen();
    const startedAt = new Date();
    const record = newRecord(startedAt, endpoints, rest);
    // A name may have another address at each start.
    const volumes = spec.volumes === undefined ? undefined : await addressed(spec.volumes);
    const asMounted = volumes === undefined ? spec : { ...spec, volumes };
    const first = rest.kind === 'created';
    const order = shared && { cards: shared.changes.order, networks: cards };
    const program = compileProgram(programSpec(asMounted, endpoints, first, order)).toString('base64');
    container.dispatch({ type: 'power', startedAt, endpoints });
    if (container.life.kind === 'preparing' && container.life.aborted !== null) throw container.life.aborted;
    machine.dispatch({ type: 'powerOn', run: record.startedAt });
    container.spec = spec;
    let asked = false;
    try {
      await change(client, container.vm, machine.changeVersion, (handle) => {
        if (this.unkept.has(container) || JSON.stringify(spec) !== JSON.stringify(former))
          handle.key(SPEC_KEY, keptSpec(spec));
        if (hardware !== undefined) handle.hardware(spec);
        // Its network did not exist when the card was made, or is another one by now.
        for (const [at, card] of cards.entries())
          if (card !== undefined && !isThere(card, places[at]!)) {
            handle.moveCard(card, places[at]!);
            machine.cards = null;
          }
        if (shared !== null) {
          joinVolumeChanges(handle, shared.changes);
          machine.cards = null;
        }
        handle.key(ADDRESSES_KEY, addressesValue(endpoints, sharing));
        for (const [key, value] of trustKeys(endpoints, spec.openPorts)) handle.key(key, value);
        handle.key(PROGRAM_KEY, program).key(RUN_KEY, JSON.stringify(record)).powerOn();
        asked = true;
      });
    } catch (error) {
      this.unkept.add(container);
      // The VM may have what it had, or what it was to get.
      if (former.sharing !== undefined)
        container.spec = { ...spec, sharing: [...(spec.sharing ?? []), ...former.sharing] };
      if (!asked) machine.dispatch({ type: 'notPoweredOn' });
      throw error;
    }
    this.unkept.delete(container);
    machine.dispatch({ type: 'poweredOn' });
  }

  /** What changes with its volumes when others have them too, or had them in its last run; null for all other containers. */
  private async volumeChanges(
    container: Container,
    spec: ContainerSpec,
  ): Promise<{ cards: Card[]; changes: VolumeChanges } | null> {
    const { spec: before } = container;
    const uncertain = this.unkept.has(container) && spec.volumes !== undefined;
    if (before.sharing === undefined && spec.sharing === undefined && !uncertain) return null;
    const { client, config, sharing } = this.context;
    await sharing.connected(container);
    const hardware = await readVolumeHardware(client, container.vm);
    const changes = volumeChanges(config, { before, spec, hardware }, (volume) => sharing.segmentOf(volume));
    return { cards: hardware.cards, changes };
  }

  /** Has no effect if the process is running all the same. */
  private abort(container: Container, error: unknown): void {
    const reason = error instanceof Error ? error : new Error(messageOf(error));
    const exitCode = exitCodeOf(error);
    if (container.running)
      log.warn({ container: container.id, err: messageOf(error) }, 'it runs, though its start is said to have failed');
    container.dispatch({ type: 'abort', reason, exitCode });
  }

  /** Resolves when the VM of a failed start is off, or cannot be powered off. */
  private async takeDown(container: Container): Promise<void> {
    const { machine, life } = container;
    if (life.kind !== 'failing' || machine.life.kind === 'off') return;
    const down = (ms: number): Promise<boolean> =>
      container.until(() => container.life.kind !== 'failing' || !['on', 'powering'].includes(machine.life.kind), {
        ms,
      });
    // The guest reports, unmounts and powers off by itself.
    if (isGuestsWord(life.reason)) {
      machine.dispatch({ type: 'expect', what: 'guest' });
      if (await down(GUEST_OFF_MS)) return;
    }
    try {
      await this.context.client.runTask('PowerOffVM_Task', container.vm, {});
    } catch (failure) {
      // It was never on, is off, or is gone.
      if (!isKind(failure, 'conflict') && !isKind(failure, 'notFound')) {
        log.error({ container: container.id, err: messageOf(failure) }, 'powering off after a failed start failed');
        return;
      }
    }
    machine.dispatch({ type: 'expect', what: 'asked' });
    await machine
      .look()
      .catch((failure: unknown) =>
        log.warn({ container: container.id, err: messageOf(failure) }, 'a VM could not be looked at'),
      );
    await down(SEEN_OFF_MS);
  }
}

/** The guest has told the addresses that DHCP gave it before its process began; the news may be on its way. */
export async function leased(container: Container): Promise<void> {
  if (!container.endpoints.some(awaitsLease)) return;
  const known = (): boolean => !container.running || !container.endpoints.some(awaitsLease);
  if (!(await container.until(known, { ms: LEASE_NEWS_MS })))
    log.warn({ container: container.id }, 'it has an address by DHCP that its host does not tell');
}
