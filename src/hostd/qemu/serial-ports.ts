/**
 * Serial ports of a VM that are connected to unix sockets on which an endpoint listens.
 *
 * hostd connects, as root, and hands QEMU the connection. QEMU knows no path and may connect to nothing, and only the listener may use the
 * socket (mode 0600), so no other QEMU can reach it. When the listener goes away, the port is disconnected; when it is back, the port is
 * connected again ({@link ChannelWatch}). hostd must not connect to sockets outside of the instance's directories with root's rights: QEMU
 * is told their path and connects with its own rights. A VM that an earlier version's hostd started also connects by itself, as long as it
 * runs ({@link admitOlder}).
 *
 * While the VM is stopped, QEMU removes a virtio-serial port's handlers (`virtconsole_enable_backend`) and does not notice if the other
 * side hangs up. The port then stays open for the guest, and the first write before the other side is back blocks it for good, because
 * nothing makes QEMU resume it. So {@link tellOfDisconnection} makes QEMU see the disconnection again.
 */
import { constants } from 'node:fs';
import { chmod, chown, open, stat } from 'node:fs/promises';
import { basename, dirname, relative } from 'node:path';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { RuntimeSerial } from '../runtime.js';
import { type CommandLineOption, chooseReconnect, type QemuDialect } from './capabilities.js';
import type { ChannelWatch } from './channel-watch.js';
import { reconnectParameter } from './command-line.js';
import type { DescriptorSender } from './descriptor-sender.js';
import type { Qmp } from './qmp.js';

const log = logger('serial');

/** A port whose backing is a socket that the VM connects to. */
type SocketPort = RuntimeSerial & { backing: { kind: 'unixClient' } };

/** A socket exists before anybody listens on it, so connecting is tried again after these times, in ms. */
const SOON_MS = [20, 100, 400];
/** When to look again after looking has failed, e.g. because QEMU did not answer in time: the VM may be waiting for its process. */
const AFTER_FAILURE_MS = [1000, 2000, 4000, 8000];

/** Where endpoints listen, below an instance's run directory. */
const CHANNEL = /^(vch\/[^/]+\/)?[\w.-]+\.sock$/;

/** What the ports of all VMs share. */
export interface ChannelHost {
  sender: DescriptorSender;
  watch: ChannelWatch;
  /** The instance's run directory. */
  runDir: string;
}

/** Connects the socket ports of one VM, and reconnects them when they are disconnected. Its owner must {@link close} it. */
export class SocketPorts {
  private readonly ports: SocketPort[];
  private readonly leave: (() => void)[];
  private looking: Promise<void> | null = null;
  private again = false;
  private closed = false;
  private failures = 0;
  private timer: NodeJS.Timeout | undefined;

  /** @param monitor path of a monitor of its QEMU that nobody else is connected to */
  constructor(
    private readonly qmp: Qmp,
    private readonly monitor: string,
    serials: readonly RuntimeSerial[],
    private readonly host: ChannelHost,
    /** The VM was started by an earlier version's hostd. */
    private readonly older = false,
  ) {
    this.ports = socketPorts(serials).filter(({ backing }) => !isForeign(backing.path, host.runDir));
    this.leave = this.ports.map(({ backing }) => host.watch.add(backing.path, () => void this.look()));
  }

  /** Connects the disconnected ports that somebody listens for. */
  look(): Promise<void> {
    if (this.looking !== null) {
      this.again = true;
      return this.looking;
    }
    this.looking = this.connect().finally(() => {
      this.looking = null;
      if (!this.again || this.closed) return;
      this.again = false;
      void this.look();
    });
    return this.looking;
  }

  /** Reconnects ports whose backend was replaced by one without a peer, if QEMU connects them itself. @throws internal, timeout */
  async renew(ports: readonly SocketPort[]): Promise<void> {
    await connectByPath(
      this.qmp,
      ports.filter(({ backing }) => this.older || isForeign(backing.path, this.host.runDir)),
    );
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
    for (const leave of this.leave.splice(0)) leave();
  }

  private async connect(): Promise<void> {
    clearTimeout(this.timer);
    try {
      await this.connectAll();
      this.failures = 0;
    } catch (error) {
      if (this.closed) return;
      const pause = AFTER_FAILURE_MS[this.failures++];
      // After that only the watch's own looks, which are rare, find it.
      if (pause !== undefined) this.timer = setTimeout(() => void this.look(), pause).unref();
      if (this.failures <= AFTER_FAILURE_MS.length)
        log.warn({ err: messageOf(error), retryMs: pause }, 'a serial port cannot be connected');
    }
  }

  private async connectAll(): Promise<void> {
    if (this.older) {
      await Promise.all(this.ports.map(({ backing }) => admitOlder(backing.path)));
      return;
    }
    for (const pause of [...SOON_MS, 0]) {
      if (this.closed) return;
      const gone = await disconnectedPorts(this.qmp, this.ports);
      if (gone.length === 0) return;
      const { status } = (await this.qmp.command('query-status')) as { status?: unknown };
      // A stopped VM's ports are connected when it continues.
      if (status !== 'running') return;
      if (await connectPorts(this.host.sender, this.monitor, gone)) return;
      if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

/**
 * Connects ports to their sockets. @returns whether somebody listened on all of them
 * @throws internal with QEMU's message, timeout
 */
export async function connectPorts(
  sender: DescriptorSender,
  monitor: string,
  ports: readonly SocketPort[],
): Promise<boolean> {
  let all = true;
  for (const { index, backing } of ports) all = (await sender.connect(monitor, `serial${index}`, backing.path)) && all;
  return all;
}

/**
 * The group of all QEMUs of versions that had QEMU connect to the channels itself. No QEMU that this version starts and that could reach a
 * channel is in it.
 */
const OLDER_GID = 64_100;
/** Linux's `O_PATH`: refers to a file without opening it. */
const O_PATH = 0o10_000_000;

/**
 * Gives an earlier version's QEMU access to its channel, as that version did; it tries to connect every second. Does nothing if there is
 * no socket yet, or it is not owned by the directory's owner.
 */
async function admitOlder(path: string): Promise<void> {
  const file = await open(path, O_PATH | constants.O_NOFOLLOW).catch(() => null);
  if (file === null) return;
  try {
    const [is, { uid }] = await Promise.all([file.stat(), stat(dirname(path))]);
    if (!is.isSocket() || is.uid !== uid) return;
    const itself = `/proc/self/fd/${file.fd}`;
    if (is.gid !== OLDER_GID) await chown(itself, is.uid, OLDER_GID);
    if ((is.mode & 0o777) !== 0o660) await chmod(itself, 0o660);
  } finally {
    await file.close();
  }
}

/** Ports that go to sockets. */
export function socketPorts(serials: readonly RuntimeSerial[]): SocketPort[] {
  return serials.filter((serial): serial is SocketPort => serial.backing.kind === 'unixClient');
}

/** True for a socket that hostd must not connect to itself. */
export function isForeign(path: string, runDir: string): boolean {
  return !CHANNEL.test(relative(runDir, path)) || basename(path) === 'docker.sock' || dirname(path) === path;
}

/** Has QEMU itself connect to sockets outside of the instance, and again whenever they are closed. @throws internal with QEMU's message */
export function connectForeignPorts(qmp: Qmp, serials: readonly RuntimeSerial[], runDir: string): Promise<void> {
  return connectByPath(
    qmp,
    socketPorts(serials).filter(({ backing }) => isForeign(backing.path, runDir)),
  );
}

async function connectByPath(qmp: Qmp, ports: readonly SocketPort[]): Promise<void> {
  if (ports.length === 0) return;
  // This VM's QEMU may be older than the one installed now, so its own dialect is asked for.
  const options = (await qmp.command('query-command-line-options', { option: 'chardev' })) as CommandLineOption[];
  const dialect = { reconnect: chooseReconnect(options) ?? ('reconnect-ms' as const) };
  for (const { index, backing } of ports)
    await qmp.command('chardev-change', { id: `serial${index}`, backend: socketBackend(backing.path, dialect) });
}

/** The backend that connects to a socket, and again whenever it is closed: `ChardevBackend` of the QMP schema. */
export function socketBackend(path: string, dialect: Pick<QemuDialect, 'reconnect'>): object {
  return {
    type: 'socket',
    data: { addr: { type: 'unix', data: { path } }, server: false, ...reconnectParameter(dialect) },
  };
}

/** The ports that are disconnected now. @throws internal, timeout */
export async function disconnectedPorts(qmp: Qmp, serials: readonly RuntimeSerial[]): Promise<SocketPort[]> {
  const answer = (await qmp.command('query-chardev')) as { label?: unknown; filename?: unknown }[];
  const connected = new Set(
    answer
      .filter(({ filename }) => typeof filename === 'string' && filename.startsWith('unix:'))
      .map(({ label }) => label),
  );
  return socketPorts(serials).filter(({ index }) => !connected.has(`serial${index}`));
}

/**
 * Tells the guest of a running VM that the other side of a port went away: the socket's backend is replaced by one that is always
 * connected, and that by one that never is. @throws internal, timeout
 */
export async function tellOfDisconnection(qmp: Qmp, { index }: SocketPort): Promise<void> {
  const id = `serial${index}`;
  await qmp.command('chardev-change', { id, backend: { type: 'ringbuf', data: { size: 4096 } } });
  await qmp.command('chardev-change', { id, backend: { type: 'null', data: {} } });
}
