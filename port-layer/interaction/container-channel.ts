/** A running container's channel: waits for its VM on a unix socket, and keeps its readers across reconnections. */
import { randomInt } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import type { Socket } from 'node:net';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { isKind } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { mark } from '../../src/common/trace.js';
import type { AddedNic, DefaultRoutes, DiskRef, VolumeServing } from '../../tether/program/spec.js';
import { TetherConnection, type TetherExit } from '../../tether/protocol/connection.js';
import { Freeze } from '../../tether/protocol/frames.js';
import type { RewrittenFile } from '../../tether/protocol/network-requests.js';
import { PortLayerError } from '../errors.js';
import { type OutputBudget, OutputShare, outputBudget } from './output-budget.js';
import { ANSWER, brokeProtocol, fromGuest, NETWORK, type Patience, START } from './patience.js';
import { SecondPeer } from './second-peer.js';
import { type ReaderOptions, SessionStreams } from './session-streams.js';
import { UnixSocketListener, type VmListener } from './vm-listener.js';

const log = logger('channel');
const CONNECT_MS = 5000;
/** How much input is kept for a VM that is not connected yet. */
const INPUT_BUFFER = 65_536;
/** How long to read on what a VM had sent before it was powered off. */
const DRAIN_MS = 2000;
const SIGKILL = 9;
/** The shortest time between two reports of a guest that keeps breaking the protocol. */
const TELL_MS = 30_000;

interface Events {
  connected: [];
  started: [session: number, pid: number];
  failed: [session: number, code: number, message: string];
  exited: [session: number, exit: TetherExit];
  /** See {@link TetherConnection}. */
  oom: [news: boolean];
  /** The guest broke the protocol and was hung up on: "it sent …". Reported at most every {@link TELL_MS}. */
  broken: [how: string];
  /** The connection has ended without being asked to. */
  lost: [];
  closing: [];
}

/** Listens for one container's VM. */
export class ContainerChannel extends EventEmitter<Events> {
  private readonly listener: VmListener;
  private closing = false;
  private connection: TetherConnection | null = null;
  /** Of the first process, and of all sessions that have not ended. */
  private readonly streams = new Map<number, SessionStreams>();
  /** Sessions that end with the connection. */
  private readonly helpers = new Set<number>();
  private readonly share: OutputShare;
  private readonly second = new SecondPeer();
  /** How often in a row the guest has broken the protocol. Each time it is called back later. */
  private breaks = 0;
  private toldAt = Number.NEGATIVE_INFINITY;
  /** Not from 1: a VM that outlived the endpoint may still have sessions of the one before. */
  private nextSession = randomInt(1, 2 ** 31);
  private released = false;
  /** The first process is running. */
  private runs = false;
  private size: { rows: number; cols: number } | null = null;

  /** @param budget for what readers leave unread */
  constructor(
    private readonly path: string,
    budget: OutputBudget = outputBudget,
  ) {
    super();
    this.listener = new UnixSocketListener(path, {
      connected: (socket) => this.accept(socket),
      wanted: () => this.connection === null,
    });
    this.setMaxListeners(0);
    this.share = new OutputShare(budget, {
      pause: () => this.connection?.pause(),
      resume: () => this.connection?.resume(),
    });
  }

  /** From now on its VM may connect. */
  listen(): Promise<void> {
    return this.listener.open();
  }

  /** Lets the VM go. Unless `now`, first passes on what a VM that has ended had sent. */
  async close(now = false): Promise<void> {
    const { connection } = this;
    this.closing = true;
    this.emit('closing');
    const closed = this.listener.close();
    this.second.hangUp();
    if (connection !== null && !now) await waitForEnd(connection);
    for (const streams of this.streams.values()) streams.end();
    this.streams.clear();
    connection?.close();
    this.connection = null;
    await closed;
  }

  /** Lets the first process start as soon as the VM is connected. */
  release(): void {
    this.released = true;
    this.connection?.go();
  }

  /** Its VM is connected. */
  get isConnected(): boolean {
    return this.connection !== null;
  }

  /** Output of a session from now on. Session 0 can be attached before the VM runs. */
  attach(session: number, options?: ReaderOptions): Readable {
    const streams = this.sessionStreams(session);
    const first = streams.count === 0;
    const output = streams.attach(options);
    if (first && session === 0) this.connection?.subscribe(0);
    return output;
  }

  /**
   * Resolves when output from now on is certain to arrive here; everything earlier is in the log.
   * @param excused while it returns true, the answer may take any time: the VM is suspended
   * @throws conflict when the VM is off, unavailable when it does not connect, timeout
   */
  async subscribed(excused: () => boolean = () => false): Promise<void> {
    const connection = await this.connected();
    await fromGuest<void>(connection, 'following its output', { ...START, excused }, (resolve) => {
      const heard = (session: number): void => {
        if (session === 0) resolve();
      };
      connection.subscribe(0);
      connection.on('subscribed', heard);
      this.streams.get(0)?.reset();
      return () => connection.off('subscribed', heard);
    });
  }

  stdin(session: number): Writable | null {
    return this.connection?.stdin(session) ?? null;
  }

  /** Standard input that can be written before the VM is connected: it waits until the process has started. */
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

  /** When the guest was last heard from (`performance.now()`). Also asks it for a sign of life. */
  heard(): number {
    this.connection?.ping();
    return this.connection?.heardAt ?? 0;
  }

  /** Delivers a signal. @throws conflict when the VM is off, unavailable when it does not connect */
  async signal(session: number, signal: number): Promise<void> {
    (await this.connected()).signal(session, signal);
  }

  async resize(session: number, size: { rows: number; cols: number }): Promise<void> {
    if (session === 0) this.size = size;
    this.connection?.resize(session, size);
  }

  /**
   * Starts a process; its output is attached before it runs. Returns the session's number. `started` rejects with {@link ProcessFailure};
   * conflict when the VM goes off meanwhile; timeout; unavailable when the guest breaks the protocol.
   */
  exec(process: Buffer): Promise<Begun> {
    return this.begin('starting a process', (connection, session) => connection.exec(session, process));
  }

  /** Starts a file server (`tether/protocol/files.ts`) as {@link exec} starts a process. It ends with the connection. */
  files(view: number): Promise<Begun> {
    return this.begin(
      "giving access to the container's files",
      (connection, session) => connection.files(session, view),
      true,
    );
  }

  /** Starts an observer (`tether/guest/observe.h`) as {@link exec} starts a process. It ends with the connection. */
  observe(): Promise<Begun> {
    return this.begin('looking at its processes', (connection, session) => connection.observe(session), true);
  }

  /** Sets limits of the running container. @throws invalid with the guest's words, unavailable, conflict when it ends meanwhile */
  async limit(limits: Record<string, string>): Promise<void> {
    const problem = await this.ask<string>('setting its limits', (connection, request, answer) => {
      const onLimited = (id: number, text: string): void => {
        if (id === request) answer(text);
      };
      connection.limit(request, limits);
      connection.on('limited', onLimited);
      return () => connection.off('limited', onLimited);
    });
    if (problem !== '') throw new PortLayerError('guest.refusedLimits', { reason: problem });
  }

  /**
   * Stops the container's processes, or lets them go on. @param state of `Freeze` @returns the resulting state
   * @throws unavailable with the guest's words or when it does not answer, conflict when it ends meanwhile
   */
  async freeze(state: number): Promise<number> {
    const what =
      state === Freeze.ask ? 'asking whether it stands still' : 'stopping its processes or letting them go on';
    const [now, problem] = await this.ask<[number, string]>(what, (connection, request, answer) => {
      const onFrozen = (id: number, ...told: [number, string]): void => {
        if (id === request) answer(told);
      };
      connection.freeze(request, state);
      connection.on('frozen', onFrozen);
      return () => connection.off('frozen', onFrozen);
    });
    if (problem !== '') throw new PortLayerError('guest.refusedFreeze', { reason: problem });
    return now;
  }

  /**
   * Sets up a network card that was just plugged in: the guest waits for the card, names it, and gives it its addresses and routes.
   * @throws unavailable with the guest's words, or when an older version has started the VM; conflict when it ends meanwhile; timeout
   */
  addNic(nic: AddedNic): Promise<void> {
    return this.changeNetwork((connection, request) => connection.addNic(request, nic));
  }

  /** Takes a card out of use that is about to be unplugged; one that is gone is no error. @throws as {@link addNic} */
  removeNic(mac: string): Promise<void> {
    return this.changeNetwork((connection, request) => connection.removeNic(request, mac));
  }

  /** Sets the container's default routes. @throws as {@link addNic} */
  routes(routes: DefaultRoutes): Promise<void> {
    return this.changeNetwork((connection, request) => connection.routes(request, routes));
  }

  /** Writes files anew that the container's program has, in place: `/etc/hosts`, `/etc/resolv.conf`. @throws as {@link addNic} */
  rewrite(files: readonly RewrittenFile[]): Promise<void> {
    return this.changeNetwork((connection, request) => connection.rewrite(request, files));
  }

  /** Sets the name servers that 127.0.0.11 passes questions on to; none: nothing answers there any more. @throws as {@link addNic} */
  nameServers(servers: string[]): Promise<void> {
    return this.changeNetwork((connection, request) => connection.nameServers(request, servers));
  }

  /**
   * Lets other machines mount a volume whose disk this one has mounted; resolves when they can. It is no error if they could already.
   * @throws unavailable with the guest's words, or when an older version has started the VM; conflict when it ends meanwhile; timeout
   */
  serveVolume(serving: VolumeServing): Promise<void> {
    return this.changeServing((connection, request) => connection.serveVolume(request, serving));
  }

  /** Ends that, so that the card can be unplugged; it is no error if it is not served. @throws as {@link serveVolume} */
  unserveVolume(disk: DiskRef): Promise<void> {
    return this.changeServing((connection, request) => connection.unserveVolume(request, disk));
  }

  /**
   * A client's machine is gone without unmounting: what it had open and locked is given up at once. Nothing of it is no error.
   * @param address the client's, without a prefix length @throws as {@link serveVolume}
   */
  forgetVolumeClient(disk: DiskRef, address: string): Promise<void> {
    return this.changeServing((connection, request) => connection.forgetVolumeClient(request, disk, address));
  }

  private async changeServing(send: (connection: TetherConnection, request: number) => void): Promise<void> {
    const what = 'serving a volume';
    const able = await this.fromHello(what, (connection) => connection.servesVolumes);
    if (!able) throw new PortLayerError('guest.tooOldToServe', {});
    const problem = await this.answered(what, send);
    if (problem !== '') throw new PortLayerError('guest.refusedServing', { reason: problem });
  }

  private async changeNetwork(send: (connection: TetherConnection, request: number) => void): Promise<void> {
    const what = 'changing its networks';
    const able = await this.fromHello(what, (connection) => connection.changesNetwork);
    if (!able) throw new PortLayerError('guest.tooOld', {});
    const problem = await this.answered(what, send);
    if (problem !== '') throw new PortLayerError('guest.refusedNetwork', { reason: problem });
  }

  /** What its tether can do, which its `hello` tells. @param look null: it has not said it yet */
  private async fromHello(what: string, look: (connection: TetherConnection) => boolean | null): Promise<boolean> {
    const connection = await this.connected();
    if (look(connection) === null)
      await fromGuest<void>(connection, what, ANSWER, (resolve) => {
        connection.once('hello', resolve);
        return () => connection.off('hello', resolve);
      });
    return look(connection) === true;
  }

  /** What failed; '' when nothing did. */
  private answered(what: string, send: (connection: TetherConnection, request: number) => void): Promise<string> {
    const change = (now: TetherConnection, request: number, answer: (problem: string) => void): (() => void) => {
      const onAnswered = (id: number, problem: string): void => {
        if (id === request) answer(problem);
      };
      send(now, request);
      now.on('answered', onAnswered);
      return () => now.off('answered', onAnswered);
    };
    return this.ask<string>(what, change, NETWORK);
  }

  /** One request and its answer. @param send sends the request and returns a function that stops listening for the answer */
  private async ask<T>(
    what: string,
    send: (connection: TetherConnection, request: number, answer: (answer: T) => void) => () => void,
    patience: Patience = ANSWER,
  ): Promise<T> {
    const connection = await this.connected();
    const request = this.nextSession++;
    return fromGuest<T>(connection, what, patience, (answer) => send(connection, request, answer));
  }

  private async begin(
    what: string,
    send: (connection: TetherConnection, session: number) => void,
    helper = false,
  ): Promise<Begun> {
    const connection = await this.connected();
    const session = this.nextSession++;
    send(connection, session);
    const output = this.attach(session);
    if (helper) this.helpers.add(session);
    const started = fromGuest<number>(connection, what, START, (resolve, reject) => {
      const onStarted = (id: number, pid: number): void => {
        if (id === session) resolve(pid);
      };
      const onFailed = (id: number, code: number, message: string): void => {
        if (id === session) reject(new ProcessFailure(code, message));
      };
      this.on('started', onStarted);
      this.on('failed', onFailed);
      return () => {
        this.off('started', onStarted);
        this.off('failed', onFailed);
      };
    });
    started.catch((error: unknown) => {
      this.endSession(session);
      // It may start after all, and then nobody would know of it.
      if (isKind(error, 'timeout')) void this.signal(session, SIGKILL).catch(() => undefined);
    });
    return { session, output, started };
  }

  /** @param broken how the guest broke the protocol, if that is why it ends */
  private endSession(session: number, broken: string | null = null): void {
    this.streams.get(session)?.end(broken === null ? undefined : brokeProtocol(broken));
    this.streams.delete(session);
    this.helpers.delete(session);
  }

  private sessionStreams(session: number): SessionStreams {
    let streams = this.streams.get(session);
    if (streams === undefined) {
      streams = new SessionStreams(
        (bytes) => this.connection?.credit(session, bytes),
        () => {
          // Nobody reads the first process: its log has everything. An exec's output is received and dropped.
          if (session === 0) this.connection?.unsubscribe(0);
        },
        (bytes) => this.share.add(bytes),
      );
      this.streams.set(session, streams);
    }
    return streams;
  }

  /** @throws conflict when the VM is off or goes off before it connects; unavailable when it does not connect */
  private async connected(): Promise<TetherConnection> {
    if (this.connection === null && !this.closing) {
      const waiting = new AbortController();
      const options = { signal: AbortSignal.any([waiting.signal, AbortSignal.timeout(CONNECT_MS)]) };
      await Promise.race([once(this, 'connected', options), once(this, 'closing', options)]).catch(() => undefined);
      waiting.abort();
    }
    if (this.connection !== null) return this.connection;
    throw this.closing ? new PortLayerError('container.stopped', {}) : new PortLayerError('guest.notConnected', {});
  }

  /** One peer at a time: a second one is let in only if the first is dead. */
  private accept(socket: Socket): void {
    if (this.connection === null) {
      this.take(new TetherConnection(socket));
      return;
    }
    this.second.wait(socket, this.connection, (lives) => {
      if (lives)
        log.warn({ path: this.path }, 'somebody else connects to the channel of a VM that is connected: refused');
      if (lives || this.closing) return false;
      this.connection?.close();
      this.connection = null;
      this.take(new TetherConnection(socket));
      return true;
    });
  }

  private take(connection: TetherConnection): void {
    this.connection = connection;
    if (this.share.paused) connection.pause();
    connection.on('started', (session, pid) => {
      if (session !== 0 && !this.streams.has(session)) return;
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
    connection.on('broken', (how) => this.tell(how));
    connection.once('close', () => {
      if (this.connection === connection) {
        this.connection = null;
        this.emit('lost');
        this.breaks = connection.broken === null ? 0 : this.breaks + 1;
        this.listener.callAgain(this.breaks);
      }
      for (const session of this.helpers) this.endSession(session, connection.broken);
      if (connection.broken !== null) this.cutOff(brokeProtocol(connection.broken));
      log.debug({ path: this.path }, 'channel closed');
    });
    if (this.size !== null) connection.resize(0, this.size);
    for (const [session, streams] of this.streams) {
      streams.reset();
      if (streams.count > 0) connection.subscribe(session);
      else connection.adopt(session);
    }
    if (this.released) connection.go();
    mark('channel connected');
    this.emit('connected');
  }

  /** Readers of an exec's output get the error. The first process's output continues on the next connection. */
  private cutOff(error: Error): void {
    for (const [session, streams] of this.streams) if (session !== 0) streams.cut(error);
  }

  private tell(how: string): void {
    const now = performance.now();
    if (now - this.toldAt < TELL_MS) return;
    this.toldAt = now;
    log.warn({ path: this.path, how }, 'the guest broke the protocol and is hung up on');
    this.emit('broken', how);
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

/** Something that was started in the guest, or is about to be. */
export interface Begun {
  session: number;
  output: Readable;
  started: Promise<number>;
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
