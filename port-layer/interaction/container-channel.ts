/** A running container's channel: waits for its VM on a unix socket, and keeps what is attached across reconnections. */
import { randomInt } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { chmod, chown, mkdir, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { conflict, invalid, unavailable } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { mark } from '../../src/common/trace.js';
import { TetherConnection, type TetherExit } from '../../tether/protocol/connection.js';
import { type ReaderOptions, SessionStreams } from './session-streams.js';

const log = logger('channel');
/** The group that the embedded host's VMs run as. */
const VM_GROUP = 64100;
const CONNECT_MS = 5000;
/** Input that is kept for a VM which is not connected yet. */
const INPUT_BUFFER = 65_536;
/** What a VM that is off had sent is read within this. */
const DRAIN_MS = 2000;

interface Events {
  connected: [];
  started: [session: number, pid: number];
  failed: [session: number, code: number, message: string];
  exited: [session: number, exit: TetherExit];
  /** See {@link TetherConnection}. */
  oom: [news: boolean];
  closing: [];
}

/** Listens for one container's VM. */
export class ContainerChannel extends EventEmitter<Events> {
  private server: Server | null = null;
  private closing = false;
  private connection: TetherConnection | null = null;
  private readonly streams = new Map<number, SessionStreams>();
  /** Not from 1: a VM that outlived the endpoint may still have sessions of the one before. */
  private nextSession = randomInt(1, 2 ** 31);
  private released = false;
  /** The first process runs. */
  private runs = false;
  private size: { rows: number; cols: number } | null = null;

  constructor(private readonly path: string) {
    super();
    this.setMaxListeners(0);
  }

  /** Opens the socket. */
  async listen(): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true, mode: 0o711 });
    await rm(this.path, { force: true });
    const server = createServer((socket) => this.accept(socket));
    this.server = server;
    server.listen(this.path);
    await once(server, 'listening');
    // For who is not root the directory gives it to that group.
    if (process.getuid?.() === 0) await chown(this.path, 0, VM_GROUP);
    await chmod(this.path, 0o660);
  }

  /** Lets the VM go. What a VM that has ended sent before is still passed on, unless `now`. */
  async close(now = false): Promise<void> {
    const { server, connection } = this;
    this.server = null;
    this.closing = true;
    this.emit('closing');
    const closed = server === null ? null : new Promise((resolve) => server.close(resolve));
    if (connection !== null && !now) await waitForEnd(connection);
    for (const streams of this.streams.values()) streams.end();
    this.streams.clear();
    connection?.close();
    this.connection = null;
    await closed;
    if (server !== null) await rm(this.path, { force: true });
  }

  /** Lets the first process start as soon as the VM is connected. */
  release(): void {
    this.released = true;
    this.connection?.go();
  }

  /** Output of a session from now on. Session 0 may be attached before the VM runs. */
  attach(session: number, options?: ReaderOptions): Readable {
    const streams = this.sessionStreams(session);
    const first = streams.count === 0;
    const output = streams.attach(options);
    if (first && session === 0) this.connection?.subscribe(0);
    return output;
  }

  /**
   * Resolves when output after this moment is sure to come: everything before is in the log.
   * @throws conflict when the VM is off, unavailable when it does not connect
   */
  async subscribed(): Promise<void> {
    const connection = await this.connected();
    const answer = new Promise<void>((resolve) => {
      const heard = (session: number): void => {
        if (session !== 0) return;
        connection.off('subscribed', heard);
        connection.off('close', gone);
        resolve();
      };
      const gone = (): void => heard(0);
      connection.on('subscribed', heard);
      connection.once('close', gone);
    });
    connection.subscribe(0);
    this.streams.get(0)?.reset();
    await answer;
  }

  stdin(session: number): Writable | null {
    return this.connection?.stdin(session) ?? null;
  }

  /** Standard input that may be written before the VM is connected: it waits for the process to start. */
  deferredStdin(session: number): Writable {
    const waiting = new PassThrough({ highWaterMark: INPUT_BUFFER });
    const flow = (): void => {
      const input = this.stdin(session);
      if (input !== null) waiting.pipe(input);
    };
    if (this.runs) {
      flow();
    } else {
      const onStarted = (started: number): void => {
        if (started !== session) return;
        this.off('started', onStarted);
        flow();
      };
      this.on('started', onStarted);
      waiting.once('close', () => this.off('started', onStarted));
    }
    return waiting;
  }

  /** Delivers a signal. @throws conflict when the VM is off, unavailable when it does not connect */
  async signal(session: number, signal: number): Promise<void> {
    (await this.connected()).signal(session, signal);
  }

  async resize(session: number, size: { rows: number; cols: number }): Promise<void> {
    if (session === 0) this.size = size;
    this.connection?.resize(session, size);
  }

  /** Starts a process; its output is attached before it runs. Returns the session's number. */
  exec(process: Buffer): Promise<{ session: number; output: Readable; started: Promise<number> }> {
    return this.begin((connection, session) => connection.exec(session, process));
  }

  /** Starts a file server (`tether/protocol/files.ts`) as {@link exec} starts a process. */
  files(view: number): Promise<{ session: number; output: Readable; started: Promise<number> }> {
    return this.begin((connection, session) => connection.files(session, view));
  }

  /** Starts an observer (`tether/guest/observe.h`) as {@link exec} starts a process. */
  observe(): Promise<{ session: number; output: Readable; started: Promise<number> }> {
    return this.begin((connection, session) => connection.observe(session));
  }

  /** Sets limits of the running container. @throws invalid with the guest's words, unavailable, conflict when it ends meanwhile */
  async limit(limits: Record<string, string>): Promise<void> {
    const problem = await this.ask<string>((connection, request, answer) => {
      const onLimited = (id: number, text: string): void => {
        if (id === request) answer(text);
      };
      connection.on('limited', onLimited);
      connection.limit(request, limits);
      return () => connection.off('limited', onLimited);
    });
    if (problem !== '') throw invalid(problem);
  }

  /**
   * Stops the container's processes, or lets them go on. @param state of `Freeze` @returns the state that there is now
   * @throws unavailable with the guest's words or when it does not answer, conflict when it ends meanwhile
   */
  async freeze(state: number): Promise<number> {
    const [now, problem] = await this.ask<[number, string]>((connection, request, answer) => {
      const onFrozen = (id: number, ...told: [number, string]): void => {
        if (id === request) answer(told);
      };
      connection.on('frozen', onFrozen);
      connection.freeze(request, state);
      return () => connection.off('frozen', onFrozen);
    });
    if (problem !== '') throw unavailable(problem);
    return now;
  }

  /** One request and its answer. @param send sends it, and returns what ends the waiting for its answer */
  private async ask<T>(
    send: (connection: TetherConnection, request: number, answer: (answer: T) => void) => () => void,
  ): Promise<T> {
    const connection = await this.connected();
    const request = this.nextSession++;
    let clean = (): void => undefined;
    try {
      return await new Promise<T>((resolve, reject) => {
        const onClose = (): void => reject(conflict('the container has stopped'));
        const timer = setTimeout(() => reject(unavailable('the container VM does not answer')), CONNECT_MS);
        connection.once('close', onClose);
        clean = () => {
          clearTimeout(timer);
          connection.off('close', onClose);
        };
        const stopListening = send(connection, request, resolve);
        const before = clean;
        clean = () => {
          before();
          stopListening();
        };
      });
    } finally {
      clean();
    }
  }

  private async begin(
    send: (connection: TetherConnection, session: number) => void,
  ): Promise<{ session: number; output: Readable; started: Promise<number> }> {
    const connection = await this.connected();
    const session = this.nextSession++;
    const output = this.attach(session);
    const started = new Promise<number>((resolve, reject) => {
      const clean = (): void => {
        this.off('started', onStarted);
        this.off('failed', onFailed);
        connection.off('close', onClose);
      };
      const onStarted = (id: number, pid: number): void => {
        if (id !== session) return;
        clean();
        resolve(pid);
      };
      const onFailed = (id: number, code: number, message: string): void => {
        if (id !== session) return;
        clean();
        this.endSession(session);
        reject(new ProcessFailure(code, message));
      };
      const onClose = (): void => {
        clean();
        this.endSession(session);
        reject(conflict('the container has stopped'));
      };
      this.on('started', onStarted);
      this.on('failed', onFailed);
      connection.once('close', onClose);
    });
    started.catch(() => undefined);
    send(connection, session);
    return { session, output, started };
  }

  private endSession(session: number): void {
    this.streams.get(session)?.end();
    this.streams.delete(session);
  }

  private sessionStreams(session: number): SessionStreams {
    let streams = this.streams.get(session);
    if (streams === undefined) {
      streams = new SessionStreams(
        (bytes) => this.connection?.credit(session, bytes),
        () => {
          // Nobody listens to the first process: its log has everything. An exec's output is taken and dropped.
          if (session === 0) this.connection?.unsubscribe(0);
        },
      );
      this.streams.set(session, streams);
    }
    return streams;
  }

  /** @throws conflict when the VM is off, or is so before it connects; unavailable when it does not connect */
  private async connected(): Promise<TetherConnection> {
    if (this.connection === null && !this.closing) {
      const waiting = new AbortController();
      const options = { signal: AbortSignal.any([waiting.signal, AbortSignal.timeout(CONNECT_MS)]) };
      await Promise.race([once(this, 'connected', options), once(this, 'closing', options)]).catch(() => undefined);
      waiting.abort();
    }
    if (this.connection !== null) return this.connection;
    throw this.closing
      ? conflict('the container has stopped')
      : unavailable('the container VM does not connect its channel');
  }

  private accept(socket: Socket): void {
    this.connection?.close();
    const connection = new TetherConnection(socket);
    this.connection = connection;
    connection.on('started', (session, pid) => {
      mark(`channel started ${session}`);
      if (session === 0) this.runs = true;
      this.emit('started', session, pid);
    });
    connection.on('failed', (session, code, message) => this.emit('failed', session, code, message));
    connection.on('output', ({ session, stream, timeNs, offset, data }) => {
      const streams = this.streams.get(session);
      if (streams === undefined) connection.credit(session, data.length);
      else streams.push({ stream, timeNs, offset, data });
    });
    connection.on('exited', (session, exit) => {
      mark(`channel exited ${session}`);
      this.endSession(session);
      this.emit('exited', session, exit);
    });
    connection.on('oom', (news) => this.emit('oom', news));
    connection.once('close', () => {
      if (this.connection === connection) this.connection = null;
      log.debug({ path: this.path }, 'channel closed');
    });
    if (this.size !== null) connection.resize(0, this.size);
    for (const [session, streams] of this.streams) {
      streams.reset();
      if (streams.count > 0) connection.subscribe(session);
    }
    if (this.released) connection.go();
    mark('channel connected');
    this.emit('connected');
  }
}

function waitForEnd(connection: TetherConnection): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, DRAIN_MS);
    connection.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** A process could not be started. */
export class ProcessFailure extends Error {
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}
