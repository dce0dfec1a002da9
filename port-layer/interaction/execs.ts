import { newId } from '../../src/common/ids.js';
import { within } from '../../src/common/within.js';
import { encodeProcess } from '../../tether/program/compile.js';
import type { ProcessSpec } from '../../tether/program/spec.js';
import { isCode, PortLayerError } from '../errors.js';
import type { ContainerCache } from '../exec/container-cache.js';
import { environmentProblem, notStarted } from '../exec/run-status.js';
import { type ContainerChannel, ProcessFailure } from './container-channel.js';
import type { AttachedStreams, ExecInfo } from './types.js';

/** How long an ended exec is remembered. */
const KEPT_MS = 5 * 60_000;
/** The exit code of a killed process: the container ended together with its VM. */
const KILLED = 137;
/** How long a new terminal size waits for the start. */
const RESIZE_MS = 10_000;
const NOT_STARTED = 128;
const LARGEST_ID = 2 ** 31 - 1;

interface Exec extends ExecInfo {
  session: number;
  started: boolean;
  /** Resolves when the exec has started, or no longer can. */
  begun: Promise<void>;
  begin(): void;
  channel: ContainerChannel | null;
  /** Its exit code, once it was started. */
  over: Promise<number> | null;
}

/** A command that cannot run: an older tether ignores the flag to only look up the user, and would execute it. */
const NOTHING_TO_RUN = '/';

/** The execs of all containers. */
export class Execs {
  private readonly execs = new Map<string, Exec>();

  constructor(private readonly containers: ContainerCache) {}

  /** See `InteractionService.checkUser`. */
  async checkUser(containerId: string, user: string): Promise<void> {
    if (user.split(':', 2).every(isUsableId)) return;
    const { channel } = this.containers.resolve(containerId);
    if (channel === null) throw new PortLayerError('container.notRunning', { container: containerId });
    const question: ProcessSpec = {
      args: [NOTHING_TO_RUN],
      env: [],
      cwd: '/',
      user,
      additionalGroups: [],
      tty: false,
      openStdin: false,
      rlimits: [],
    };
    const { output, started } = await channel.exec(encodeProcess(question, { identifyOnly: true }));
    output.resume();
    try {
      await started;
    } catch (error) {
      if (!(error instanceof ProcessFailure)) throw error;
      // Any other problem is reported when the exec is started.
      const failure = notStarted('exec', error.code, error.message);
      if (isCode(failure, 'process.unknownUser')) throw failure;
    }
  }

  /** @throws conflict when the container does not run; invalid without a command */
  async create(containerId: string, process: ProcessSpec, streams: ExecInfo['openedStreams']): Promise<ExecInfo> {
    const container = this.containers.resolve(containerId);
    if (!container.running) throw new PortLayerError('container.notRunning', { container: container.id });
    if (process.args.length === 0) throw new PortLayerError('exec.noCommand', {});
    let begin: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const exec: Exec = {
      id: newId(),
      containerId: container.id,
      process,
      running: false,
      exitCode: null,
      pid: 0,
      openedStreams: streams,
      session: -1,
      started: false,
      begun,
      begin,
      channel: null,
      over: null,
    };
    this.execs.set(exec.id, exec);
    // An exec that was never started is forgotten when this run of the container ends; one that has ended, some time later.
    const forget = (): void => {
      if (exec.started) return;
      this.execs.delete(exec.id);
      exec.begin();
    };
    container.once('exited', forget);
    container.once('removed', () => this.execs.delete(exec.id));
    return exec;
  }

  private exec(id: string): Exec {
    const exec = this.execs.get(id);
    if (exec === undefined) throw new PortLayerError('exec.notFound', { exec: id });
    return exec;
  }

  /** See `InteractionService.execStart`. @throws invalid (cannot be started), conflict (already ran, or the container does not run) */
  async start(
    execId: string,
    options: { detach: boolean; size?: { rows: number; cols: number } },
  ): Promise<AttachedStreams | null> {
    const exec = this.exec(execId);
    const container = this.containers.resolve(exec.containerId);
    if (exec.started)
      throw new PortLayerError(exec.exitCode === null ? 'exec.alreadyRunning' : 'exec.alreadyRun', { exec: exec.id });
    const { channel } = container;
    if (!container.running || channel === null)
      throw new PortLayerError('container.notRunning', { container: container.id });
    exec.started = true;
    exec.channel = channel;
    const process = options.size === undefined ? exec.process : { ...exec.process, terminalSize: options.size };
    if (process.cwd !== '' && !process.cwd.startsWith('/')) {
      this.end(exec, NOT_STARTED);
      exec.over = Promise.resolve(NOT_STARTED);
      throw new PortLayerError('exec.relativeDirectory', {
        of: 'exec',
        exitCode: NOT_STARTED,
        directory: process.cwd,
      });
    }
    const wrong = environmentProblem(process.env);
    if (wrong !== undefined) {
      this.end(exec, NOT_STARTED);
      exec.over = Promise.resolve(NOT_STARTED);
      throw new PortLayerError('process.badEnvironment', { of: 'exec', exitCode: NOT_STARTED, ...wrong });
    }
    const { session, output, started } = await channel.exec(encodeProcess(process)).catch((error: unknown) => {
      this.end(exec, NOT_STARTED);
      throw error;
    });
    exec.session = session;
    exec.begin();
    exec.over = new Promise<number>((resolve) => {
      const finish = (code: number): void => {
        channel.off('exited', onExited);
        container.off('exited', onContainer);
        this.end(exec, code);
        resolve(code);
      };
      const onExited = (ended: number, exit: { code: number }): void => {
        if (ended === session) finish(exit.code);
      };
      const onContainer = (): void => finish(KILLED);
      channel.on('exited', onExited);
      container.once('exited', onContainer);
      started.then(
        (pid) => {
          exec.pid = pid;
          // A short one may have ended by the time its start is heard of.
          exec.running = exec.exitCode === null;
        },
        (error: unknown) => finish(error instanceof ProcessFailure ? error.code : NOT_STARTED),
      );
    });
    try {
      await started;
    } catch (error) {
      output.destroy();
      if (error instanceof ProcessFailure) throw notStarted('exec', error.code, error.message);
      throw error;
    }
    if (options.detach) {
      output.resume();
      return null;
    }
    return { output, stdin: exec.openedStreams.stdin ? channel.stdin(session) : null, close: () => output.destroy() };
  }

  private end(exec: Exec, code: number): void {
    exec.begin();
    exec.running = false;
    exec.exitCode = code;
    setTimeout(() => this.execs.delete(exec.id), KEPT_MS).unref();
  }

  /** As in Docker, waits for an exec that has not started. @throws notFound when it has ended; timeout when it is not started */
  async resize(execId: string, size: { rows: number; cols: number }): Promise<void> {
    const exec = this.exec(execId);
    await within(exec.begun, RESIZE_MS, () => {
      throw new PortLayerError('exec.tooLate', { exec: execId });
    });
    if (exec.channel === null || exec.exitCode !== null) throw new PortLayerError('exec.ended', { exec: execId });
    await exec.channel.resize(exec.session, size);
  }

  /** Does nothing to an exec that has ended. */
  async kill(execId: string, signal: number): Promise<void> {
    const exec = this.exec(execId);
    if (exec.channel === null || exec.exitCode !== null) return;
    await exec.channel.signal(exec.session, signal);
  }

  /** Its exit code. @throws conflict when it was not started */
  wait(execId: string): Promise<number> {
    const { over } = this.exec(execId);
    if (over === null) throw new PortLayerError('exec.notStarted', { exec: execId });
    return over;
  }

  inspect(execId: string): ExecInfo {
    const { id, containerId, process, running, exitCode, pid, openedStreams } = this.exec(execId);
    return { id, containerId, process, running, exitCode, pid, openedStreams };
  }

  /** A container's execs that have not ended. */
  ids(containerId: string): string[] {
    return [...this.execs.values()]
      .filter((exec) => exec.containerId === containerId && exec.exitCode === null)
      .map((exec) => exec.id);
  }
}

/** Whether a user or group is omitted, or is a number in the valid range. */
function isUsableId(text: string): boolean {
  return /^\d{0,10}$/.test(text) && Number(text) <= LARGEST_ID;
}
