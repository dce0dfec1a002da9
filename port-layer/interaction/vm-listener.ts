/** Listens for a VM's channel: the seam for another kind of host. */
import { once } from 'node:events';
import { mkdir, rm, utimes } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';

/**
 * Connects a VM's end of its channel to the endpoint. Today the VM's host connects to a socket file here; on vSphere a serial port
 * concentrator would report the connections.
 * - Between `open` and `close` the VM may connect at any time, and again whenever its connection has ended.
 * - `connected` is called for each connection. The callee owns the socket; the listener does not touch it again.
 * - `close` resolves when another listener may use the same place.
 */
export interface VmListener {
  open(): Promise<void>;
  /**
   * The connection has ended: asks the VM to connect again, until it is no longer wanted. @param setbacks how many in a row have ended
   * badly
   */
  callAgain(setbacks: number): void;
  close(): Promise<void>;
}

/** The listener's events, and its question. */
export interface VmListenerEvents {
  connected(socket: Socket): void;
  /** True while there is no connection. */
  wanted(): boolean;
}

/** How many times a VM whose connection has ended is called, with growing pauses: its host may be busy. */
const CALLS = 4;
const CALL_MS = 100;
const CALL_MOST_MS = 10_000;

/** A socket file, to which the VM's host connects (`src/hostd/qemu/serial-ports.ts`). */
export class UnixSocketListener implements VmListener {
  private server: Server | null = null;

  constructor(
    private readonly path: string,
    private readonly events: VmListenerEvents,
  ) {}

  async open(): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true, mode: 0o711 });
    await rm(this.path, { force: true });
    const server = createServer((socket) => this.events.connected(socket));
    this.server = server;
    // Only this user and root may connect; the host does, and hands the connection to the VM. Node cannot ask who a peer is (it has no
    // SO_PEERCRED), so the socket's mode must keep others out from the moment it exists.
    const umask = process.umask(0o177);
    try {
      server.listen(this.path);
    } finally {
      process.umask(umask);
    }
    await once(server, 'listening');
  }

  callAgain(setbacks: number): void {
    this.call(0, setbacks);
  }

  async close(): Promise<void> {
    const { server } = this;
    this.server = null;
    if (server === null) return;
    await new Promise((resolve) => server.close(resolve));
    await rm(this.path, { force: true });
  }

  /** Touches the socket, which makes the host connect again. */
  private call(times: number, setbacks: number): void {
    if (times >= CALLS) return;
    const pause = Math.min(CALL_MOST_MS, CALL_MS * 4 ** times * 2 ** setbacks);
    setTimeout(() => {
      if (this.server === null || !this.events.wanted()) return;
      const now = new Date();
      utimes(this.path, now, now).catch(() => undefined);
      this.call(times + 1, setbacks);
    }, pause).unref();
  }
}
