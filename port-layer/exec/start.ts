/** Starting a container: its VM is given a program, is powered on, and its process runs or tells why it can't. */
import { setTimeout as sleep } from 'node:timers/promises';
import { conflict, internal, isKind, messageOf, notModified, timeout } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { compileProgram } from '../../tether/program/compile.js';
import { StartError } from '../errors.js';
import type { ContainerChannel } from '../interaction/container-channel.js';
import { FIRST_PROCESS } from '../interaction/patience.js';
import { cardAddresses } from '../network/endpoints.js';
import { volumeDisks } from '../storage/volume-disks.js';
import type { Container } from './container.js';
import type { ContainerSpec } from './container-spec.js';
import type { ExecContext } from './context.js';
import { change } from './handle.js';
import { keptSpec } from './kept-spec.js';
import { keepsNothing } from './lasting-disks.js';
import { programSpec } from './program-spec.js';
import { RUN_KEY, type RunRecord } from './run-record.js';
import { environmentProblem, parseRunStatus, type RunStatus, STATUS_KEY, startError } from './run-status.js';
import type { ContainerState, Preparation } from './types.js';
import type { VmObserver } from './vm-observer.js';
import { ADDRESSES_KEY, addressesValue, channelPath, PROGRAM_KEY, SPEC_KEY } from './vm-spec.js';

const log = logger('exec');
/** So much more for each volume: an emulated machine that is busy takes long to find and mount many disks. */
const VOLUME_MS = 3000;
/** A guest that could not start its process powers itself off within this. */
const GUEST_OFF_MS = 10_000;
/** A VM is off so long after its process has ended. */
const ENDING_MS = 10_000;
/** Taking down the VM of a container that is gone is tried so often, with growing pauses. */
const DROP_ATTEMPTS = 6;
const DROP_PAUSE_MS = 200;
/** What the inventory has taken in is told within this. */
const SEEN_MS = 2000;
/** A run may be over before the inventory has told that it began: after this it is asked. */
const SHORT_RUN_MS = 300;

/** Starts containers. */
export class Starter {
  constructor(
    private readonly context: ExecContext,
    private readonly observer: VmObserver,
  ) {}

  /** See `ExecService.start`. Callers must hold the container ({@link Container.exclusive}). */
  async start(container: Container, prepare?: () => Promise<Preparation>): Promise<void> {
    // Who has seen the process end may start it again at once.
    if (container.reportedExit !== null && container.running) await container.ended(ENDING_MS);
    if (container.running) throw notModified(`container ${container.id} is already running`);
    if (container.removal !== null || container.state === 'removing' || container.state === 'dead')
      throw conflict('container is marked for removal and cannot be started');
    const before = container.state;
    container.become('starting');
    container.kept = false;
    container.endedWhileStarting = null;
    container.reportedExit = null;
    container.oomKilled = false;
    container.starting = this.attempt(container, before, prepare).finally(() => {
      container.starting = null;
    });
    await container.starting;
  }

  private async attempt(
    container: Container,
    before: ContainerState,
    prepare?: () => Promise<Preparation>,
  ): Promise<void> {
    const power = { wished: false };
    try {
      // It counts as starting now: nobody else takes its volumes. Who has them already, to read or change files, is waited for.
      const { volumes, volumeUse } = this.context;
      volumeUse.check(container.spec);
      await volumeUse.free(container.spec);
      for (const { volume, readOnly } of volumeDisks(container.spec)) if (readOnly) await volumes.recover(volume);
      const pid = await this.run(container, (await prepare?.()) ?? { annotations: {} }, before === 'created', power);
      this.running(container, pid);
    } catch (error) {
      await this.failed(container, before, error, power.wished);
      throw error;
    }
  }

  /** Powers the VM on. Resolves with the process's id. */
  private async run(
    container: Container,
    { annotations, links }: Preparation,
    first: boolean,
    power: { wished: boolean },
  ): Promise<number> {
    const { client, config, networks } = this.context;
    const former = container.spec;
    const { links: _ended, hardware, ...lasting } = former;
    const spec: ContainerSpec = {
      ...lasting,
      ...(links === undefined ? {} : { links }),
      annotations: { ...former.annotations, ...annotations },
    };
    container.endpoints = networks.bind(spec, container.macs ?? (await this.readMacs(container)));
    const wrong = environmentProblem(spec.process.env);
    if (wrong !== undefined) throw startError(128, `error during container init: ${wrong}`);
    const channel = container.channelOn(channelPath(config, container.id));
    channel.release();
    await container.channelClosed();
    await channel.listen();
    const { started, stopWaiting } = this.awaitStart(container, channel);
    try {
      const program = compileProgram(programSpec(spec, container.endpoints, first)).toString('base64');
      const record: RunRecord = { startedAt: new Date().toISOString(), endpoints: container.endpoints };
      container.spec = spec;
      await change(client, container.vm, container.changeVersion, (handle) => {
        if (JSON.stringify(spec) !== JSON.stringify(former)) handle.key(SPEC_KEY, keptSpec(spec));
        if (hardware !== undefined) handle.hardware(spec);
        handle.key(ADDRESSES_KEY, addressesValue(container.endpoints));
        handle.key(PROGRAM_KEY, program).key(RUN_KEY, JSON.stringify(record)).powerOn();
        power.wished = true;
      });
      return await started;
    } catch (error) {
      if (hardware !== undefined) container.spec = { ...container.spec, hardware };
      throw error;
    } finally {
      stopWaiting();
    }
  }

  private running(container: Container, pid: number): void {
    container.pid = pid;
    container.startedAt = new Date();
    container.error = '';
    container.exitCode = 0;
    container.lastFinishedAt = container.finishedAt ?? container.lastFinishedAt;
    container.finishedAt = null;
    container.become('running');
    if (container.spec.autoRemove && keepsNothing(container, this.context.cache, true))
      container.once('ending', () => void this.drop(container));
    this.context.emit({ type: 'started', container: container.info(), time: container.startedAt });
    if (container.endedWhileStarting !== null) this.observer.poweredOff(container, container.endedWhileStarting);
    else if (!container.poweredOn) void this.lookAfter(container, container.startedAt, true, SHORT_RUN_MS);
  }

  /** Nothing of this VM is kept: it need not go down in order, and nobody waits for it. */
  private async drop(container: Container): Promise<void> {
    // Somebody removes it by himself.
    if (container.removal !== null || container.kept) return;
    this.observer.giveUp(container);
    const { client } = this.context;
    for (let attempt = 1; ; attempt++) {
      try {
        await client.runTask('PowerOffVM_Task', container.vm, {}).catch((error: unknown) => {
          // It may be off, or just going off.
          if (!isKind(error, 'conflict')) throw error;
        });
        await client.runTask('Destroy_Task', container.vm, {});
        return;
      } catch (error) {
        if (isKind(error, 'notFound')) return;
        if (attempt === DROP_ATTEMPTS) {
          log.error({ container: container.id, err: messageOf(error) }, 'the VM of a removed container stays');
          return;
        }
        await sleep(attempt * DROP_PAUSE_MS);
      }
    }
  }

  /** Its guest goes down, or it was powered off: should nobody be told that it is off, it is looked for. */
  async lookAfterEnd(container: Container, everyMs = ENDING_MS): Promise<void> {
    if (container.startedAt !== null) await this.lookAfter(container, container.startedAt, false, everyMs);
  }

  /**
   * The inventory tells states, not changes: a VM that was on for an instant may never be seen on. Until there is news of its power, it is asked
   * now and then whether the VM is off. @param on which news
   */
  private async lookAfter(container: Container, run: Date, on: boolean, everyMs: number): Promise<void> {
    const unseen = async (): Promise<boolean> =>
      !(await container.powerBecomes(on, everyMs)) && container.running && container.startedAt === run;
    while (await unseen()) {
      const status = await this.statusWhenOff(container).catch((error: unknown) => {
        log.warn({ container: container.id, err: messageOf(error) }, 'a VM could not be looked at');
        return null;
      });
      if (status === null || !(await unseen())) continue;
      log.warn({ container: container.id }, 'the VM is off, and nobody was told');
      container.poweredOn = false;
      this.observer.poweredOff(container, status);
      container.emit('power', false);
    }
  }

  /** Null for a VM that is on, or gone. */
  private async statusWhenOff(container: Container): Promise<RunStatus | null> {
    const [object] = await this.context.client.retrieve([container.vm], 'VirtualMachine', [
      'runtime.powerState',
      'config.extraConfig',
    ]);
    if (object === undefined || object.props['runtime.powerState'] !== 'poweredOff') return null;
    const status = object.props['config.extraConfig']?.find(({ key }) => key === STATUS_KEY);
    return parseRunStatus(String(status?.value ?? ''));
  }

  /** `started` resolves with the process's id when it runs, or did. */
  private awaitStart(
    container: Container,
    channel: ContainerChannel,
  ): { started: Promise<number>; stopWaiting: () => void } {
    let stopWaiting = (): void => undefined;
    const started = new Promise<number>((resolve, reject) => {
      const onStarted = (session: number, pid: number): void => {
        if (session === 0) resolve(pid);
      };
      const onFailed = (session: number, code: number, message: string): void => {
        if (session === 0) reject(startError(code, message));
      };
      const onPower = (on: boolean): void => {
        if (on || container.endedWhileStarting === null) return;
        const ended = startOf(container.endedWhileStarting);
        if (typeof ended === 'number') resolve(ended);
        else reject(ended);
      };
      const tooLong = (): void => reject(timeout('the container VM does not start its process in time'));
      const timer = setTimeout(tooLong, FIRST_PROCESS.mostMs + VOLUME_MS * volumeDisks(container.spec).length);
      channel.on('started', onStarted);
      channel.on('failed', onFailed);
      container.on('power', onPower);
      container.abortStart = reject;
      stopWaiting = () => {
        clearTimeout(timer);
        channel.off('started', onStarted);
        channel.off('failed', onFailed);
        container.off('power', onPower);
        container.abortStart = null;
      };
    });
    started.catch(() => undefined);
    return { started, stopWaiting };
  }

  /** @param wished power-on was asked for */
  private async failed(container: Container, before: ContainerState, error: unknown, wished: boolean): Promise<void> {
    const { networks, emit, removeIfWished } = this.context;
    if (wished) await this.powerOff(container, error);
    container.closeChannel();
    networks.release(container.id);
    container.endpoints = [];
    container.error = messageOf(error);
    container.exitCode = error instanceof StartError ? error.exitCode : 128;
    container.state = before;
    emit({ type: 'startFailed', container: container.info(), error: container.error, time: new Date() });
    container.emit('exited', container.exitStatus());
    removeIfWished(container);
  }

  /** Resolves when the VM of a failed start is off, and was seen off: else it would be taken for one that somebody else runs. */
  private async powerOff(container: Container, error: unknown): Promise<void> {
    if (container.endedWhileStarting !== null) return;
    // The guest reports, unmounts and powers off by itself.
    if (error instanceof StartError && (await container.powerBecomes(true, SEEN_MS)))
      await container.powerBecomes(false, GUEST_OFF_MS);
    try {
      await this.context.client.runTask('PowerOffVM_Task', container.vm, {});
    } catch (failure) {
      // It was never on, is off, or is gone.
      if (isKind(failure, 'conflict') || isKind(failure, 'notFound')) {
        if (!container.poweredOn) return;
      } else {
        log.error({ container: container.id, err: messageOf(failure) }, 'powering off after a failed start failed');
        return;
      }
    }
    if (container.endedWhileStarting === null && (await container.powerBecomes(true, SEEN_MS)))
      await container.powerBecomes(false, SEEN_MS);
  }

  private async readMacs(container: Container): Promise<string[]> {
    const [object] = await this.context.client.retrieve([container.vm], 'VirtualMachine', ['config.hardware']);
    container.macs = cardAddresses(object?.props['config.hardware']?.device ?? []);
    return container.macs;
  }
}

/** The process's id of a run that ended before its start was heard of, or why it could not start. */
function startOf(status: RunStatus): number | Error {
  switch (status.kind) {
    case 'failed':
      return startError(status.code, status.message);
    case 'started':
      return status.pid;
    case 'exited':
      return 0;
    default:
      return internal('container VM has unexpectedly powered off');
  }
}
