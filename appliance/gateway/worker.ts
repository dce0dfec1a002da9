/**
 * The gateway worker: runs in the endpoint VM's network namespace, where the containers are, and serves listening sockets that
 * were opened in the machine's. It is root nowhere: who starts it puts it there.
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { connect, type Server, type Socket } from 'node:net';
import { keepReading } from '../../src/common/keep-reading.js';
import type { WorkerMessage } from '../../src/porter/messages.js';

const CONNECT_MS = 10_000;
/** How long a container may take to read what a client that has gone had sent. */
const GONE_MS = 60_000;
const UDP_IDLE_MS = 60_000;
const MAX_UDP_CLIENTS = 1024;
/** Connections of one published port at a time; more are refused. */
const MAX_TCP_CLIENTS = 4096;

/** One published port. */
interface Port {
  close(): void;
  setTarget(address: string, port: number): void;
}

class TcpPort implements Port {
  private target: { host: string; port: number } | null = null;
  private readonly waiting = new Set<Socket>();
  private readonly open = new Set<Socket>();

  constructor(private readonly server: Server) {
    // A client may close its sending side and still wait for the answer.
    Object.assign(server, { allowHalfOpen: true });
    server.on('connection', (socket: Socket) => this.accept(socket));
    server.on('error', () => undefined);
  }

  setTarget(host: string, port: number): void {
    this.target = { host, port };
    const sockets = [...this.waiting];
    this.waiting.clear();
    for (const socket of sockets) this.connect(socket, { host, port });
  }

  close(): void {
    this.server.close();
    for (const socket of this.open) socket.destroy();
  }

  private accept(client: Socket): void {
    if (this.open.size >= MAX_TCP_CLIENTS) {
      client.resetAndDestroy();
      return;
    }
    this.open.add(client);
    client.once('close', () => {
      this.open.delete(client);
      this.waiting.delete(client);
    });
    client.on('error', () => client.destroy());
    keepReading(client);
    client.pause();
    if (this.target === null) this.waiting.add(client);
    else this.connect(client, this.target);
  }

  /** Joins a client with the container. */
  private connect(client: Socket, target: { host: string; port: number }): void {
    const upstream = keepReading(connect({ ...target, allowHalfOpen: true, timeout: CONNECT_MS }));
    upstream.once('connect', () => {
      upstream.setTimeout(0);
      client.pipe(upstream);
      upstream.pipe(client);
    });
    // Nobody listens in the container: the client is told as the container would.
    upstream.once('timeout', () => upstream.destroy());
    upstream.on('error', () => {
      // What it has said is the client's, also when it ends badly.
      if (upstream.bytesRead === 0) client.resetAndDestroy();
      else client.end();
    });
    upstream.once('close', () => {
      if (!client.writableEnded) client.destroy();
    });
    client.once('close', () => {
      // So is what the client has said the container's.
      upstream.setTimeout(GONE_MS, () => upstream.destroy());
      upstream.destroySoon();
    });
  }
}

class UdpPort implements Port {
  private target: { address: string; port: number } | null = null;
  private readonly clients = new Map<string, { socket: UdpSocket; timer: NodeJS.Timeout }>();

  constructor(private readonly socket: UdpSocket) {
    socket.on('message', (data: Buffer, from: RemoteInfo) => this.receive(data, from));
    socket.on('error', () => undefined);
  }

  setTarget(address: string, port: number): void {
    this.target = { address, port };
  }

  close(): void {
    this.socket.close();
    for (const { socket, timer } of this.clients.values()) {
      clearTimeout(timer);
      socket.close();
    }
    this.clients.clear();
  }

  private receive(data: Buffer, from: RemoteInfo): void {
    if (this.target === null) return;
    const key = `${from.address}:${from.port}`;
    let client = this.clients.get(key);
    if (client === undefined) {
      if (this.clients.size >= MAX_UDP_CLIENTS) return;
      const socket = createSocket('udp4');
      socket.on('message', (answer) => this.socket.send(answer, from.port, from.address));
      socket.on('error', () => undefined);
      client = { socket, timer: setTimeout(() => this.forget(key), UDP_IDLE_MS) };
      this.clients.set(key, client);
    }
    client.timer.refresh();
    client.socket.send(data, this.target.port, this.target.address);
  }

  private forget(key: string): void {
    this.clients.get(key)?.socket.close();
    this.clients.delete(key);
  }
}

const ports = new Map<number, Port>();

process.on('message', (message: WorkerMessage, handle: unknown) => {
  switch (message.kind) {
    case 'listen':
      ports.set(
        message.id,
        message.protocol === 'tcp' ? new TcpPort(handle as Server) : new UdpPort(handle as UdpSocket),
      );
      break;
    case 'target':
      ports.get(message.id)?.setTarget(message.address, message.port);
      break;
    case 'close':
      ports.get(message.id)?.close();
      ports.delete(message.id);
      break;
  }
});
// Who started it has gone: whatever takes its place starts a worker of its own.
process.on('disconnect', () => process.exit(0));

process.send?.('ready');
