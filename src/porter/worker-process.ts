/** The gateway's worker, seen from whoever starts it: a process that serves published ports. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket as UdpSocket } from 'node:dgram';
import type { Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { unavailable } from '../common/errors.js';
import { HEARTBEAT_FD } from '../common/heartbeat.js';
import { logger } from '../common/log.js';
import { bindTcp, bindUdp } from './binding.js';
import type { Protocol, WorkerMessage } from './messages.js';

const log = logger('gateway');
const RESTART_MS = 500;
/** The worker's descriptor of its heartbeat file, the one after the channel's. */
const BEAT = 4;

/** How to notice that the worker hangs. */
export interface WorkerWatch {
  /** Descriptor of its heartbeat file. */
  descriptor: number;
  /** @param hangs called when the worker must be given up */
  watch(pid: number, hangs: (why: string) => void): { stop(): void };
}

/** Starts the worker and talks to it. `onDeath` is called after it was restarted: whatever it served must be set up again. */
export class WorkerProcess {
  private child: ChildProcess | null = null;
  /** Calls that wait for the worker to take a socket. They fail when it ends, which Node may not notice. */
  private readonly waiting = new Set<() => void>();
  private closing = false;
  private ready = false;
  /** The first start has succeeded. */
  private begun = false;

  /** @param command starts the worker, in its network namespace and with its rights */
  constructor(
    private readonly command: string[],
    private readonly onDeath: () => void,
    private readonly watch: WorkerWatch | null = null,
  ) {}

  /** Starts the worker; resolves when it serves. @throws unavailable */
  async start(): Promise<void> {
    const [program = '', ...args] = this.command;
    const { watch } = this;
    const child = spawn(program, args, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...(watch === null ? [] : [watch.descriptor])],
      env: { ...process.env, ...(watch === null ? {} : { [HEARTBEAT_FD]: String(BEAT) }) },
    });
    this.child = child;
    const watching = child.pid === undefined ? undefined : watch?.watch(child.pid, (why) => this.hangs(child, why));
    const gone = (code: number | null): void => {
      watching?.stop();
      for (const tell of this.waiting) tell();
      // If the first start fails, its caller deals with it.
      if (this.closing || this.child !== child || !this.begun) return;
      log.error({ code }, 'the gateway worker ended and is started again');
      this.child = null;
      void this.startAgain();
    };
    child.once('exit', gone);
    // A process that could not be started does not exit.
    child.on('error', () => {
      if (child.pid === undefined) gone(null);
    });
    const ready = new Promise<boolean>((resolve) => {
      child.once('message', (answer) => resolve(answer === 'ready'));
      child.once('exit', () => resolve(false));
      child.on('error', () => resolve(false));
    });
    if (!(await ready)) throw unavailable('the gateway worker does not start; see the log');
    this.ready = true;
    this.begun = true;
  }

  private hangs(child: ChildProcess, why: string): void {
    log.error({ pid: child.pid }, `the gateway worker hangs and is ended: ${why}`);
    child.kill('SIGKILL');
  }

  /** A worker that ended while starting is started again when its end is noticed. */
  private async startAgain(): Promise<void> {
    this.ready = false;
    await sleep(RESTART_MS);
    if (this.closing) return;
    try {
      await this.start();
      this.onDeath();
    } catch (error) {
      log.error({ err: error }, 'the gateway worker cannot be started');
    }
  }

  /**
   * Listens on an address of the machine and passes the socket to the worker.
   * @param port 0: any free one
   * @returns the port
   * @throws Error of listen(2) or bind(2), unavailable
   */
  async publish(id: number, protocol: Protocol, host: string, port: number): Promise<number> {
    if (protocol === 'tcp') {
      const server = await bindTcp(host, port);
      const bound = (server.address() as { port: number }).port;
      try {
        await this.listen(id, protocol, server);
      } finally {
        // The worker has the socket now; this process must not accept connections from it.
        await new Promise((closed) => server.close(closed));
      }
      return bound;
    }
    const socket = await bindUdp(host, port);
    const bound = socket.address().port;
    try {
      await this.listen(id, protocol, socket);
    } finally {
      socket.close();
    }
    return bound;
  }

  private listen(id: number, protocol: Protocol, socket: Server | UdpSocket): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.child === null || !this.ready) {
        reject(unavailable('the gateway is not ready'));
        return;
      }
      const lost = (): void => {
        this.waiting.delete(lost);
        reject(unavailable('the gateway ended'));
      };
      this.waiting.add(lost);
      this.child.send({ kind: 'listen', id, protocol } satisfies WorkerMessage, socket, (error) => {
        this.waiting.delete(lost);
        if (error === null) resolve();
        else reject(error);
      });
    });
  }

  target(id: number, address: string, port: number): void {
    if (this.child?.connected === true) this.child.send({ kind: 'target', id, address, port } satisfies WorkerMessage);
  }

  close(id: number): void {
    if (this.child?.connected === true) this.child.send({ kind: 'close', id } satisfies WorkerMessage);
  }

  /** Ends the worker. */
  stop(): void {
    this.closing = true;
    this.child?.kill();
  }
}
