/**
 * Serial ports of a VM that are connected to unix sockets, through QEMU's monitor.
 *
 * QEMU takes a virtio-serial port's handlers away while the VM is stopped (`virtconsole_enable_backend`). Who hangs up meanwhile is
 * not noticed: the port stays open for the guest, and the first thing the guest writes before the other side is back blocks the port
 * for good, because nothing tells QEMU to take it up again. It has to be told of the disconnection once more.
 */
import type { RuntimeSerial } from '../runtime.js';
import { type CommandLineOption, chooseReconnect, type QemuDialect } from './capabilities.js';
import { reconnectParameter } from './command-line.js';
import type { Qmp } from './qmp.js';

/** A port whose backing is a socket that the VM connects to. */
type SocketPort = RuntimeSerial & { backing: { kind: 'unixClient' } };

/** The backend that connects to a socket, and connects again when it is closed: `ChardevBackend` of the QMP schema. */
export function socketBackend(path: string, dialect: Pick<QemuDialect, 'reconnect'>): object {
  return {
    type: 'socket',
    data: { addr: { type: 'unix', data: { path } }, server: false, ...reconnectParameter(dialect) },
  };
}

/** Ports that are connected to nobody now. @throws internal, timeout */
export async function disconnectedPorts(qmp: Qmp, serials: readonly RuntimeSerial[]): Promise<SocketPort[]> {
  const answer = (await qmp.command('query-chardev')) as { label?: unknown; filename?: unknown }[];
  const disconnected = new Set(
    answer
      .filter(({ filename }) => typeof filename === 'string' && filename.startsWith('disconnected:'))
      .map(({ label }) => label),
  );
  return serials.filter(
    (serial): serial is SocketPort => serial.backing.kind === 'unixClient' && disconnected.has(`serial${serial.index}`),
  );
}

/**
 * The guest of a running VM hears that the other side of a port went, and then that it came, as soon as it is there again: a backend
 * that is always connected is put in place of the socket's, and replaced by one that is not. @throws internal, timeout
 */
export async function tellOfDisconnection(qmp: Qmp, { index, backing }: SocketPort): Promise<void> {
  // That of this VM's QEMU, which may be older than the machine's is by now.
  const options = (await qmp.command('query-command-line-options', { option: 'chardev' })) as CommandLineOption[];
  const reconnect = chooseReconnect(options) ?? 'reconnect-ms';
  const id = `serial${index}`;
  await qmp.command('chardev-change', { id, backend: { type: 'ringbuf', data: { size: 4096 } } });
  await qmp.command('chardev-change', { id, backend: socketBackend(backing.path, { reconnect }) });
}
