/** The relay (`src/relay`), seen from whoever starts it: a process that carries published ports, forwards, and what containers send out. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { unavailable } from '../common/errors.js';
import { logger } from '../common/log.js';
import { RestartPause } from '../common/restart-pause.js';
import type { AddressPort, Counter, Protocol } from './messages.js';
import { parseRelayLine, type RelayLine } from './relay-lines.js';
import { RelayTotals } from './relay-totals.js';
import type { WorkerWatch } from './worker-watch.js';

const log = logger('gateway');
/** The pause before a relay that ended soon after its start is started again. */
const RESTART_MS = 250;
const MOST_RESTART_MS = 5000;
/** How much of what was carried may be lost with a relay that ends. */
const COUNT_MS = 5000;
/** The relay's descriptor of its heartbeat file. */
const BEAT = 3;

/** Where the relay takes what containers send out. */
export interface OutwardPlace {
  /** Of its namespace's loopback, TCP and UDP; 0: it carries nothing outward. */
  port: number;
  /** It wants to see the first packet of each connection, and echo requests. */
  logged: boolean;
}

interface Waiting {
  counters: Counter[];
  resolve(answer: { port: number; counters: Counter[] }): void;
  reject(error: Error): void;
}

/** Starts the relay and talks to it. */
export class RelayProcess {
  private child: ChildProcess | null = null;
  /** Requests that have not been answered. They fail when the relay ends. */
  private readonly waiting = new Map<number, Waiting>();
  private readonly totals = new RelayTotals();
  private counting: NodeJS.Timeout | null = null;
  private last = 0;
  private closing = false;
  private readonly pause = new RestartPause(RESTART_MS, MOST_RESTART_MS);
  private ready = false;
  /** The first start has succeeded. */
  private begun = false;

  /**
   * @param command starts the relay
   * @param restarted called after it was started again: whatever it carried must be set up once more
   * @param prepare sets up what it needs besides, each time before anybody else may use it
   */
  constructor(
    private readonly command: string[],
    private readonly restarted: () => void,
    private readonly watch: WorkerWatch | null = null,
    private readonly prepare: (place: OutwardPlace) => Promise<void> = async () => undefined,
  ) {}

  /** Starts the relay; resolves when it serves. @throws unavailable */
  async start(): Promise<void> {
    const { watch } = this;
    const [program = '', ...args] = [...this.command, ...(watch === null ? [] : ['--beat', String(BEAT)])];
    const began = performance.now();
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'inherit', ...(watch === null ? [] : [watch.descriptor])],
      env: {},
    });
    this.child = child;
    const watching = child.pid === undefined ? undefined : watch?.watch(child.pid, (why) => this.hangs(child, why));
    // A relay that ended takes no more.
    (child.stdin as Writable).on('error', () => undefined);
    const place = new Promise<OutwardPlace | null>((resolve) => {
      createInterface({ input: child.stdout as Readable }).on('line', (text) => {
        const line = parseRelayLine(text);
        if (line?.kind === 'ready') resolve(line);
        else if (line !== null) this.heard(line);
      });
      child.once('exit', () => resolve(null));
      child.on('error', () => resolve(null));
    });
    const gone = (code: number | null, signal: NodeJS.Signals | null): void => {
      watching?.stop();
      if (this.child !== child) return;
      this.ready = false;
      for (const { reject } of this.waiting.values()) reject(unavailable('the relay ended'));
      this.waiting.clear();
      // If the first start fails, its caller deals with it.
      if (this.closing || !this.begun) return;
      log.error({ code, signal }, 'the relay ended and is started again');
      this.child = null;
      void this.startAgain(this.pause.after(performance.now() - began));
    };
    child.once('exit', gone);
    // A process that could not be started does not exit.
    child.on('error', () => {
      if (child.pid === undefined) gone(null, null);
    });
    const at = await place;
    if (at === null) throw unavailable('the relay does not start; see the log');
    await this.prepare(at);
    this.ready = true;
    this.begun = true;
    this.counting ??= setInterval(() => void this.counters().catch(() => undefined), COUNT_MS).unref();
  }

  private hangs(child: ChildProcess, why: string): void {
    log.error({ pid: child.pid }, `the relay hangs and is ended: ${why}`);
    child.kill('SIGKILL');
  }

  private heard(line: Exclude<RelayLine, { kind: 'ready' }>): void {
    if (line.kind === 'note') {
      log.warn(line.text);
      return;
    }
    const waiting = this.waiting.get(line.request);
    if (waiting === undefined) return;
    if (line.kind === 'count') {
      waiting.counters.push(line.counter);
      return;
    }
    this.waiting.delete(line.request);
    if (line.kind === 'ok') waiting.resolve({ port: line.port, counters: waiting.counters });
    else waiting.reject(line.error);
  }

  /** A relay that ended while starting is started again when its end is noticed. */
  private async startAgain(afterMs: number): Promise<void> {
    await sleep(afterMs);
    if (this.closing) return;
    try {
      await this.start();
      this.restarted();
    } catch (error) {
      log.error({ err: error }, 'the relay cannot be started');
    }
  }

  /**
   * Listens on an address of the machine; connections wait until {@link target}.
   * @param port 0: any free one
   * @returns the port
   * @throws Error of listen(2) or bind(2), unavailable
   */
  async publish(id: number, protocol: Protocol, host: string, port: number): Promise<number> {
    return (await this.ask((request) => ['listen', request, id, protocol, host, port])).port;
  }

  /** Carries what is sent to `inner`, in its own namespace, to `outer`. @returns the port of `inner` @throws as {@link publish} */
  async forward(id: number, protocol: Protocol, inner: AddressPort, outer: AddressPort): Promise<number> {
    const places = [inner.address, inner.port, outer.address, outer.port];
    return (await this.ask((request) => ['forward', request, id, protocol, ...places])).port;
  }

  /** What was carried for that address counts no more. */
  async forget(address: string): Promise<void> {
    // What it has not told yet is forgotten with the rest.
    await this.counters();
    this.totals.forget(address);
  }

  target(id: number, address: string, port: number): void {
    this.tell(['target', id, address, port]);
  }

  close(id: number): void {
    this.tell(['close', id]);
  }

  /** The networks on its side, which are never outside. @param ranges CIDR */
  inside(ranges: readonly string[]): void {
    this.tell(['inside', ...ranges]);
  }

  /** What it has carried, also before it was started again; of that it may miss the last seconds. @throws unavailable */
  async counters(): Promise<Counter[]> {
    this.totals.add((await this.ask((request) => ['count', request])).counters);
    return this.totals.list();
  }

  /** How fast bytes are carried in each direction, for each address of a network or for one. @param rate bytes a second; 0: as fast as it goes */
  rate(range: string, rate: number): void {
    this.tell(['rate', range, rate]);
  }

  /** Ends the relay. */
  stop(): void {
    this.closing = true;
    if (this.counting !== null) clearInterval(this.counting);
    this.child?.kill();
  }

  private tell(words: (string | number)[]): void {
    this.child?.stdin?.write(`${words.join(' ')}\n`);
  }

  private ask(words: (request: number) => (string | number)[]): Promise<{ port: number; counters: Counter[] }> {
    return new Promise((resolve, reject) => {
      if (!this.ready) {
        reject(unavailable('the relay is not ready'));
        return;
      }
      const request = ++this.last;
      this.waiting.set(request, { counters: [], resolve, reject });
      this.tell(words(request));
    });
  }
}
