/**
 * The gateway worker: runs in the endpoint VM's network namespace, where the containers are, and serves listening sockets that were opened
 * in the machine's. It has root privileges in neither; the process that starts it puts it there.
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { connect, isIPv6, type Server, type Socket } from 'node:net';
import { startHeartbeatIfAsked } from '../../src/common/heartbeat.js';
import { keepReading } from '../../src/common/keep-reading.js';
import type { WorkerMessage } from '../../src/porter/messages.js';

const CONNECT_MS = 10_000;
/** How long a container may take to read what a client had sent before it disconnected. */
const GONE_MS = 60_000;
const UDP_IDLE_MS = 60_000;
const MAX_UDP_CLIENTS = 1024;
/** How many packets of one client may wait for its socket. */
const MAX_UDP_WAITING = 64;
/** How many connections a published port may have at a time; more are refused. */
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
    // A client may close its sending side and still wait for the response.
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

  /** Connects a client with the container. */
  private connect(client: Socket, target: { host: string; port: number }): void {
    const upstream = keepReading(connect({ ...target, allowHalfOpen: true, timeout: CONNECT_MS }));
    upstream.once('connect', () => {
      upstream.setTimeout(0);
      client.pipe(upstream);
      upstream.pipe(client);
    });
    // Nobody answers in the container: the client gets the same error as from the container itself.
    upstream.once('timeout', () => upstream.destroy());
    upstream.on('error', () => {
      // What the container has sent must reach the client, even after an error.
      if (upstream.bytesRead === 0) client.resetAndDestroy();
      else client.end();
    });
    upstream.once('close', () => {
      if (!client.writableEnded) client.destroy();
    });
    client.once('close', () => {
      // And what the client has sent must reach the container.
      upstream.setTimeout(GONE_MS, () => upstream.destroy());
      upstream.destroySoon();
    });
  }
}

/** What carries one client's packets to a container and back. */
interface UdpClient {
  socket: UdpSocket;
  timer: NodeJS.Timeout;
  /** Packets that arrived while the socket was being connected; null once it is. */
  waiting: Buffer[] | null;
}

class UdpPort implements Port {
  private target: { address: string; port: number } | null = null;
  private readonly clients = new Map<string, UdpClient>();

  constructor(private readonly socket: UdpSocket) {
    socket.on('message', (data: Buffer, from: RemoteInfo) => this.receive(data, from));
    socket.on('error', () => undefined);
  }

  setTarget(address: string, port: number): void {
    if (this.target?.address === address && this.target.port === port) return;
    // Their sockets are connected to where the container was.
    this.forgetAll();
    this.target = { address, port };
  }

  close(): void {
    this.socket.close();
    this.forgetAll();
  }

  private receive(data: Buffer, from: RemoteInfo): void {
    if (this.target === null) return;
    const key = `${from.address}:${from.port}`;
    const client = this.clients.get(key) ?? this.open(key, from, this.target);
    if (client === undefined) return;
    client.timer.refresh();
    if (client.waiting === null) client.socket.send(data);
    else if (client.waiting.length < MAX_UDP_WAITING) client.waiting.push(data);
  }

  /** A socket that is connected to the service, so that the kernel passes on packets from nobody else. */
  private open(key: string, from: RemoteInfo, target: { address: string; port: number }): UdpClient | undefined {
    if (this.clients.size >= MAX_UDP_CLIENTS) return undefined;
    const socket = createSocket(isIPv6(target.address) ? 'udp6' : 'udp4');
    const client: UdpClient = { socket, timer: setTimeout(() => this.forget(key), UDP_IDLE_MS), waiting: [] };
    this.clients.set(key, client);
    // Nobody is listening there at the moment; it is up to the client to try again.
    socket.on('error', () => undefined);
    socket.connect(target.port, target.address, (error?: Error) => {
      if (this.clients.get(key) !== client) return;
      if (error !== undefined) {
        this.forget(key);
        return;
      }
      socket.on('message', (answer, { address, port }) => {
        // A packet that arrived before the socket was connected may come from anybody.
        if (address === target.address && port === target.port) this.socket.send(answer, from.port, from.address);
      });
      for (const data of client.waiting ?? []) socket.send(data);
      client.waiting = null;
    });
    return client;
  }

  private forget(key: string): void {
    const client = this.clients.get(key);
    if (client === undefined) return;
    clearTimeout(client.timer);
    client.socket.close();
    this.clients.delete(key);
  }

  private forgetAll(): void {
    for (const key of [...this.clients.keys()]) this.forget(key);
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
// The process that started this one has gone; its successor starts a worker of its own.
process.on('disconnect', () => process.exit(0));

startHeartbeatIfAsked();
process.send?.('ready');
