/** Streams of containers: attach, logs, and further processes. */
import { Readable, type Writable } from 'node:stream';
import { conflict, invalid, isKind, notFound } from '../../src/common/errors.js';
import { newId } from '../../src/common/ids.js';
import type { DatastoreClient } from '../../src/vim25/index.js';
import { encodeProcess } from '../../tether/program/compile.js';
import type { ProcessSpec } from '../../tether/program/spec.js';
import type { VchConfig } from '../config.js';
import { StartError } from '../errors.js';
import type { Container } from '../exec/container.js';
import type { ContainerCache } from '../exec/container-cache.js';
import { channelPath, vmDirectory } from '../exec/vm-spec.js';
import type { AttachedStreams, AttachOptions, ExecInfo, InteractionService, LogOptions } from '../types.js';
import { type ContainerChannel, ProcessFailure } from './container-channel.js';
import { type LogBatches, LogCursor, logThenLive, outputOf, readLog, selectLines, tailStart } from './output-log.js';

/** What runc puts before the cause when an exec fails. */
const EXEC_PREFIX = 'OCI runtime exec failed: exec failed: unable to start container process: ';
/** Batches of log lines that are read ahead of the client. */
const LOG_BATCHES = 2;
/** Ended execs are remembered for so long. */
const EXEC_KEPT_MS = 5 * 60_000;

/** What the guest says of an exec it can't start, in Docker's words: it looks users and groups up itself. */
function execError({ code, message }: ProcessFailure): Error {
  return message.startsWith('unable to find ') ? invalid(message) : new StartError(code, `${EXEC_PREFIX}${message}`);
}

interface Exec extends ExecInfo {
  session: number;
  started: boolean;
  channel: ContainerChannel | null;
  /** Its exit code; from the start on. */
  over: Promise<number> | null;
}

/** The interaction component of the port layer. */
export class Interaction implements InteractionService {
  private readonly execs = new Map<string, Exec>();

  constructor(
    private readonly config: VchConfig,
    private readonly containers: ContainerCache,
    private readonly datastore: DatastoreClient,
  ) {}

  private logPath(container: Container): string {
    return `${vmDirectory(this.config, container.id)}/output.log`;
  }

  // --- attach --------------------------------------------------------------------------------------------------------

  async attach(id: string, options: AttachOptions, signal?: AbortSignal): Promise<AttachedStreams> {
    const container = this.containers.resolve(id);
    const cursor = new LogCursor();
    const stored = (): LogBatches => readLog(this.datastore, this.logPath(container), cursor);
    let output: Readable;
    let live: Readable | null = null;
    if (options.stream) {
      const channel = this.channelOf(container);
      live = channel.attach(0);
      output = live;
      if (options.logs && container.running) {
        const followed = (await isLive(channel)) ? logThenLive(stored(), cursor, live) : stored();
        output = Readable.from(outputOf(followed));
      }
    } else {
      output = Readable.from(options.logs ? outputOf(stored()) : []);
    }
    const streams: AttachedStreams = {
      output,
      stdin: options.stdin && options.stream && container.spec.process.openStdin ? this.input(container) : null,
      close: () => {
        live?.destroy();
        output.destroy();
      },
    };
    signal?.addEventListener('abort', () => streams.close(), { once: true });
    return streams;
  }

  private channelOf(container: Container): ContainerChannel {
    if (container.state === 'removing' || container.state === 'dead')
      throw conflict(`container ${container.id} is marked for removal and cannot be attached`);
    return container.channelOn(channelPath(this.config, container.id));
  }

  /** Input may be written before the VM is connected: it waits. */
  private input(container: Container): Writable {
    const channel = this.channelOf(container);
    return channel.deferredStdin(0);
  }

  async resize(id: string, size: { rows: number; cols: number }): Promise<void> {
    const container = this.containers.resolve(id);
    if (!container.running && container.channel === null) throw conflict(`container ${container.id} is not running`);
    await container.channel?.resize(0, size);
  }

  // --- logs ----------------------------------------------------------------------------------------------------------

  async logs(id: string, options: LogOptions, signal?: AbortSignal): Promise<Readable> {
    const container = this.containers.resolve(id);
    const path = this.logPath(container);
    const cursor = new LogCursor();
    // Asked before the log is read: what ends meanwhile is shown by the next reader.
    const ended = !container.running && container.state !== 'starting';
    const start = options.tail === undefined ? 0 : await tailStart(this.datastore, path, options.tail);
    const stored = readLog(this.datastore, path, cursor, start);
    let batches: LogBatches = stored;
    let live: Readable | null = null;
    if (options.follow && !ended && container.channel !== null) {
      live = container.channel.attach(0);
      if (await isLive(container.channel)) batches = logThenLive(stored, cursor, live);
    }
    const result = Readable.from(selectLines(batches, options, ended), { highWaterMark: LOG_BATCHES });
    const close = (): void => {
      live?.destroy();
    };
    result.once('close', close);
    signal?.addEventListener('abort', () => result.destroy(), { once: true });
    return result;
  }

  // --- execs ---------------------------------------------------------------------------------------------------------

  async execCreate(
    containerId: string,
    process: ProcessSpec,
    streams: { stdin: boolean; stdout: boolean; stderr: boolean },
  ): Promise<ExecInfo> {
    const container = this.containers.resolve(containerId);
    if (!container.running) throw conflict(`container ${container.id} is not running`);
    if (process.args.length === 0) throw invalid('No exec command specified');
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
      channel: null,
      over: null,
    };
    this.execs.set(exec.id, exec);
    container.once('removed', () => this.execs.delete(exec.id));
    return exec;
  }

  private exec(id: string): Exec {
    const exec = this.execs.get(id);
    if (exec === undefined) throw notFound(`No such exec instance: ${id}`);
    return exec;
  }

  async execStart(
    execId: string,
    options: { detach: boolean; size?: { rows: number; cols: number } },
  ): Promise<AttachedStreams | null> {
    const exec = this.exec(execId);
    const container = this.containers.resolve(exec.containerId);
    if (exec.started) throw conflict(`exec command ${exec.id} has already run`);
    const { channel } = container;
    if (!container.running || channel === null) throw conflict(`container ${container.id} is not running`);
    exec.started = true;
    exec.channel = channel;
    const process = options.size === undefined ? exec.process : { ...exec.process, terminalSize: options.size };
    const { session, output, started } = await channel.exec(encodeProcess(process));
    exec.session = session;
    exec.over = new Promise<number>((resolve) => {
      const finish = (code: number): void => {
        channel.off('exited', onExited);
        container.off('exited', onContainer);
        exec.running = false;
        exec.exitCode = code;
        resolve(code);
        setTimeout(() => this.execs.delete(exec.id), EXEC_KEPT_MS).unref();
      };
      const onExited = (ended: number, exit: { code: number }): void => {
        if (ended === session) finish(exit.code);
      };
      const onContainer = (): void => finish(137);
      channel.on('exited', onExited);
      container.once('exited', onContainer);
      started.then(
        (pid) => {
          exec.pid = pid;
          exec.running = true;
        },
        (error: unknown) => finish(error instanceof ProcessFailure ? error.code : 128),
      );
    });
    try {
      await started;
    } catch (error) {
      output.destroy();
      if (error instanceof ProcessFailure) throw execError(error);
      throw error;
    }
    if (options.detach) {
      output.resume();
      return null;
    }
    return { output, stdin: exec.openedStreams.stdin ? channel.stdin(session) : null, close: () => output.destroy() };
  }

  async execResize(execId: string, size: { rows: number; cols: number }): Promise<void> {
    const exec = this.exec(execId);
    if (exec.channel === null || exec.exitCode !== null) throw conflict(`exec ${execId} is not running`);
    await exec.channel.resize(exec.session, size);
  }

  async execKill(execId: string, signal: number): Promise<void> {
    const exec = this.exec(execId);
    if (exec.channel === null || exec.exitCode !== null) return;
    await exec.channel.signal(exec.session, signal);
  }

  execWait(execId: string): Promise<number> {
    const { over } = this.exec(execId);
    if (over === null) throw conflict(`exec ${execId} was not started`);
    return over;
  }

  execInspect(execId: string): ExecInfo {
    const { id, containerId, process, running, exitCode, pid, openedStreams } = this.exec(execId);
    return { id, containerId, process, running, exitCode, pid, openedStreams };
  }

  execIds(containerId: string): string[] {
    return [...this.execs.values()]
      .filter((exec) => exec.containerId === containerId && exec.running)
      .map((exec) => exec.id);
  }
}

/** Whether there will be output after what is in the log now; not from a VM that is ending. @throws unavailable when it does not connect */
async function isLive(channel: ContainerChannel): Promise<boolean> {
  try {
    await channel.subscribed();
    return true;
  } catch (error) {
    if (isKind(error, 'conflict')) return false;
    throw error;
  }
}
