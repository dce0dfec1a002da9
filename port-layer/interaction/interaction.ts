/** Streams of containers: attach, logs, and further processes. */
import { Readable, type Writable } from 'node:stream';
import { isKind } from '../../src/common/errors.js';
import type { DatastoreClient } from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import { PortLayerError } from '../errors.js';
import type { Container } from '../exec/container.js';
import type { ContainerCache } from '../exec/container-cache.js';
import { channelPath, vmDirectory } from '../exec/vm-spec.js';
import type { ContainerChannel } from './container-channel.js';
import { Execs } from './execs.js';
import { keptLines } from './log-rotation.js';
import {
  CAUGHT_UP,
  type LogBatches,
  LogCursor,
  type LogItem,
  type LogPart,
  logPart,
  logThenLive,
  newestRun,
  outputOf,
  RUN_END,
  readAfter,
  readLog,
  selectLines,
  whileWanted,
} from './output-log.js';
import type { ReaderOptions } from './session-streams.js';
import type { AttachedStreams, AttachOptions, ExecInfo, InteractionService, LogOptions } from './types.js';

/** How many batches of log lines are read ahead of the client. */
const LOG_BATCHES = 2;
/** The interaction component of the port layer. */
export class Interaction implements InteractionService {
  private readonly execs: Execs;

  constructor(
    private readonly config: VchConfig,
    private readonly containers: ContainerCache,
    private readonly datastore: DatastoreClient,
  ) {
    this.execs = new Execs(containers);
  }

  private logPath(container: Container): string {
    return `${vmDirectory(this.config, container.id)}/output.log`;
  }

  // --- attach --------------------------------------------------------------------------------------------------------

  async attach(id: string, options: AttachOptions, signal?: AbortSignal): Promise<AttachedStreams> {
    const container = this.containers.resolve(id);
    const path = this.logPath(container);
    const cursor = new LogCursor();
    let output: Readable;
    let live: Readable | null = null;
    let open = true;
    const wanted = (): boolean => open;
    if (options.logs) checkKept(container);
    if (options.stream) {
      const channel = this.channelOf(container);
      live = channel.attach(0, { paces: true, ...this.replay(container) });
      output = live;
      if (options.logs) {
        // A run that begins from now on writes after this position.
        const next = container.running ? 0 : ((await this.datastore.size(path)) ?? 0);
        const follows = !container.running || (await isLive(container, channel, live));
        const stored = whileWanted(readLog(this.datastore, path, cursor, await this.keptPart(container)), wanted);
        output = Readable.from(outputOf(follows ? logThenLive(stored, cursor, live, next) : stored));
      }
    } else {
      output = Readable.from(
        options.logs
          ? outputOf(whileWanted(readLog(this.datastore, path, cursor, await this.keptPart(container)), wanted))
          : [],
      );
    }
    output.once('close', () => {
      open = false;
    });
    const streams: AttachedStreams = {
      output,
      stdin: options.stdin && options.stream && container.spec.process.openStdin ? this.input(container) : null,
      close: () => {
        live?.destroy();
        output.destroy();
      },
    };
    whenAborted(signal, () => streams.close());
    return streams;
  }

  /** The part of a container's log that may be shown. */
  private keptPart(container: Container): Promise<LogPart> {
    return logPart(this.datastore, this.logPath(container), { keepBytes: container.spec.log?.keepBytes });
  }

  /** A paused container's log. Once it goes on: what it wrote before it knew of this reader, then live output. */
  private async *whenResumed(
    container: Container,
    channel: ContainerChannel,
    stored: LogBatches,
    cursor: LogCursor,
    live: Readable,
  ): AsyncGenerator<LogItem[]> {
    yield* stored;
    yield [CAUGHT_UP];
    if (!(await isLive(container, channel, live))) return;
    for await (const chunk of readAfter(
      this.datastore,
      this.logPath(container),
      cursor.run,
      cursor.last,
      () => !live.destroyed,
    )) {
      cursor.last = chunk.offset;
      yield [chunk];
    }
    for await (const chunk of live) if (chunk.offset > cursor.last) yield [chunk];
    yield [RUN_END];
  }

  /** What a reader missed of the current run. */
  private replay(container: Container): Pick<ReaderOptions, 'replay'> {
    if (container.spec.log?.kept === false) return {};
    const path = this.logPath(container);
    let run: Promise<number> | null = null;
    const { datastore } = this;
    return {
      async *replay(after, wanted) {
        run ??= newestRun(datastore, path);
        yield* readAfter(datastore, path, await run, after, wanted);
      },
    };
  }

  private channelOf(container: Container): ContainerChannel {
    if (['removing', 'dead', 'removed'].includes(container.life.kind))
      throw new PortLayerError('container.beingRemoved', { container: container.id, hinders: 'attach' });
    return container.machine.channelOn(channelPath(this.config, container.id));
  }

  /** Input can be written before the VM is connected: it waits. */
  private input(container: Container): Writable {
    const channel = this.channelOf(container);
    return channel.deferredStdin(0);
  }

  async resize(id: string, size: { rows: number; cols: number }): Promise<void> {
    const container = this.containers.resolve(id);
    if (!container.running && container.channel === null)
      throw new PortLayerError('container.notRunning', { container: container.id });
    await container.channel?.resize(0, size);
  }

  // --- logs ----------------------------------------------------------------------------------------------------------

  async logs(id: string, options: LogOptions, signal?: AbortSignal): Promise<Readable> {
    const container = this.containers.resolve(id);
    checkKept(container);
    const path = this.logPath(container);
    const cursor = new LogCursor();
    const { channel } = container;
    let ended = (!container.running && container.state !== 'starting') || container.ending;
    const { keepBytes, rotation } = container.spec.log ?? {};
    let { tail } = options;
    if (rotation !== undefined && keepBytes !== undefined)
      tail = Math.min(tail ?? Number.POSITIVE_INFINITY, await keptLines(this.datastore, path, rotation, keepBytes));
    // With rotation, only `tail` bounds the log. Lines are longer in Docker's files than here, so what Docker keeps fits into `keepBytes`,
    // except perhaps for a last line.
    const part = await logPart(this.datastore, path, { tail, ...(rotation === undefined ? { keepBytes } : {}) });
    let open = true;
    const stored = whileWanted(readLog(this.datastore, path, cursor, part), () => open);
    let batches: LogBatches = stored;
    let live: Readable | null = null;
    if (options.follow && !ended && channel !== null) {
      live = channel.attach(0, { paces: false, ...this.replay(container) });
      // A suspended guest answers once it goes on; until then the reader gets what was stored.
      if (container.paused) batches = this.whenResumed(container, channel, stored, cursor, live);
      else if (await isLive(container, channel, live)) batches = logThenLive(stored, cursor, live);
      else ended = true;
    }
    const result = Readable.from(selectLines(batches, { ...options, ...(tail === undefined ? {} : { tail }) }, ended), {
      highWaterMark: LOG_BATCHES,
    });
    const close = (): void => {
      open = false;
      live?.destroy();
    };
    result.once('close', close);
    whenAborted(signal, () => {
      // This comes first: the result only closes after the generator behind it, which may be waiting for this.
      close();
      result.destroy();
    });
    return result;
  }

  // --- execs ---------------------------------------------------------------------------------------------------------

  checkUser(containerId: string, user: string): Promise<void> {
    return this.execs.checkUser(containerId, user);
  }

  execCreate(...given: Parameters<InteractionService['execCreate']>): Promise<ExecInfo> {
    return this.execs.create(...given);
  }

  execStart(...given: Parameters<InteractionService['execStart']>): Promise<AttachedStreams | null> {
    return this.execs.start(...given);
  }

  execResize(execId: string, size: { rows: number; cols: number }): Promise<void> {
    return this.execs.resize(execId, size);
  }

  execKill(execId: string, signal: number): Promise<void> {
    return this.execs.kill(execId, signal);
  }

  execWait(execId: string): Promise<number> {
    return this.execs.wait(execId);
  }

  execInspect(execId: string): ExecInfo {
    return this.execs.inspect(execId);
  }

  execIds(containerId: string): string[] {
    return this.execs.ids(containerId);
  }
}

/**
 * Whether more output will follow what is in the log now. A VM that is ending sends none; one that is suspended answers once it goes on.
 * @param live destroyed if that cannot be found out
 * @throws unavailable when it does not connect, timeout when it does not answer
 */
async function isLive(container: Container, channel: ContainerChannel, live: Readable): Promise<boolean> {
  try {
    await channel.subscribed(() => container.paused);
    return true;
  } catch (error) {
    if (isKind(error, 'conflict')) return false;
    live.destroy();
    throw error;
  }
}

/** Calls `body` when the signal fires, or now if it already has. */
function whenAborted(signal: AbortSignal | undefined, body: () => void): void {
  if (signal?.aborted === true) body();
  else signal?.addEventListener('abort', body, { once: true });
}

/** @throws unsupported when the container's output is not kept */
function checkKept(container: Container): void {
  if (container.spec.log?.kept === false)
    throw new PortLayerError('container.logsNotKept', { container: container.id });
}
