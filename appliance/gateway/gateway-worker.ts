/** The endpoint's side of its gateway worker: a process in the endpoint VM's network namespace that serves published ports. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket as UdpSocket } from 'node:dgram';
import type { Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { unavailable } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';

const log = logger('gateway');
const RESTART_MS = 500;

/** Messages to the worker; `listen` comes with the socket. */
export type WorkerMessage =
  | { kind: 'listen'; id: number; protocol: 'tcp' | 'udp' }
  | { kind: 'target'; id: number; address: string; port: number }
  | { kind: 'close'; id: number };

/** Starts the worker and talks to it. `onDeath` is told when it ended without being asked: what it served must be set up again. */
export class GatewayWorker {
  private child: ChildProcess | null = null;
  private closing = false;
  private ready = false;
  /** The first start has succeeded. */
  private begun = false;

  /**
   * @param namespace path of the network namespace; undefined: this process's own
   * @param address the gateway's address with prefix length, set on eth0 of the namespace
   * @param program the worker's compiled program
   */
  constructor(
    private readonly namespace: string | undefined,
    private readonly address: string,
    private readonly onDeath: () => void,
    private readonly program = fileURLToPath(new URL('./worker.js', import.meta.url)),
  ) {}

  /** Starts the worker; resolves when its address is set. */
  async start(): Promise<void> {
    const command = [process.execPath, this.program, ...(this.namespace === undefined ? [] : [this.address])];
    const all = this.namespace === undefined ? command : ['nsenter', `--net=${this.namespace}`, '--', ...command];
    const child = spawn(all[0]!, all.slice(1), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.child = child;
    child.once('exit', (code) => {
      // One that never was ready at the endpoint's own start is the starter's matter.
      if (this.closing || this.child !== child || !this.begun) return;
      log.error({ code }, 'the gateway worker ended and is started again');
      this.child = null;
      void this.startAgain();
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

  /** A worker that ended at its start is tried again by its own `exit`. */
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

  listen(id: number, protocol: 'tcp' | 'udp', socket: Server | UdpSocket): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.child === null || !this.ready) {
        reject(unavailable('the gateway is not ready'));
        return;
      }
      this.child.send({ kind: 'listen', id, protocol } satisfies WorkerMessage, socket, (error) =>
        error === null ? resolve() : reject(error),
      );
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
