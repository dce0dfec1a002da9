/** Streams of containers, their logs, and execs. */
import type { Readable, Writable } from 'node:stream';
import type { ProcessSpec } from '../../tether/program/spec.js';

/** One piece of output. `offset`: where its record stands in the output log (session 0 only, else -1). */
export interface OutputChunk {
  stream: 'stdout' | 'stderr';
  timeNs: bigint;
  data: Buffer;
  offset: number;
}

/** A live connection to a session's streams. Its owner must `close()` it. */
export interface AttachedStreams {
  /** Object mode, {@link OutputChunk}s; ends when the process has exited and all output was delivered. Backpressure counts. */
  output: Readable;
  /** null when stdin was not asked for or is not open. Ending it closes the process's stdin (last writer). */
  stdin: Writable | null;
  /** Detaches; the process goes on. */
  close(): void;
}

export interface AttachOptions {
  stdin: boolean;
  /** Give the log's content first (`logs=1`). */
  logs: boolean;
  /** Follow live output (`stream=1`). */
  stream: boolean;
}

export interface LogOptions {
  follow: boolean;
  stdout: boolean;
  stderr: boolean;
  sinceNs?: bigint;
  untilNs?: bigint;
  /** Number of last lines, of both streams and all times; undefined: all. */
  tail?: number;
}

/** An exec as it is now. */
export interface ExecInfo {
  id: string;
  containerId: string;
  process: ProcessSpec;
  running: boolean;
  /** null until it has ended. */
  exitCode: number | null;
  pid: number;
  openedStreams: { stdin: boolean; stdout: boolean; stderr: boolean };
}

/** Streams of containers and execs. */
export interface InteractionService {
  /** May be called before start: the output then begins with the process's first byte. */
  attach(id: string, options: AttachOptions, signal?: AbortSignal): Promise<AttachedStreams>;
  resize(id: string, size: { rows: number; cols: number }): Promise<void>;
  /**
   * In object mode: arrays of {@link OutputChunk}s split at line ends (a chunk is at most one line, and at most 16 KiB). @throws
   * unsupported when nothing is kept
   */
  logs(id: string, options: LogOptions, signal?: AbortSignal): Promise<Readable>;
  /**
   * Looks up who an exec with this `ProcessSpec.user` would run as. Numbers are accepted without a look-up, even if the container does not
   * list them.
   * @throws invalid when there is no such user or group
   */
  checkUser(containerId: string, user: string): Promise<void>;
  execCreate(
    containerId: string,
    process: ProcessSpec,
    streams: { stdin: boolean; stdout: boolean; stderr: boolean },
  ): Promise<ExecInfo>;
  /** Starts an exec; `detach`: null. @throws invalid, with an exit code as in `start` */
  execStart(
    execId: string,
    options: { detach: boolean; size?: { rows: number; cols: number } },
  ): Promise<AttachedStreams | null>;
  execResize(execId: string, size: { rows: number; cols: number }): Promise<void>;
  /** Delivers a signal to an exec's process; does nothing if it has ended. */
  execKill(execId: string, signal: number): Promise<void>;
  /** Resolves with the exit code when a started exec has ended. */
  execWait(execId: string): Promise<number>;
  execInspect(execId: string): ExecInfo;
  /** Execs of a container that have not ended, started or not. */
  execIds(containerId: string): string[];
}
