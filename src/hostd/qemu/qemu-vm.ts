/** A VM that runs in a QEMU process: found by its pid file and monitor, watched until it ends. */
import { rm } from 'node:fs/promises';
import { logger } from '../../common/log.js';
import { ended, isRunning, type ProcessIdentity, signal, usage } from '../process-id.js';
import type { RunningVm, VmExit, VmHooks } from '../runtime.js';
import { GuestRpcServer } from './guest-rpc.js';
import type { Qmp } from './qmp.js';

const log = logger('qemu');
const QUIT_MS = 3000;

/** Files of a running VM. */
export interface VmFiles {
  pid: string;
  qmp: string;
  guestRpc: string;
}

/** The running VM. `cleanUp` is called once after the process has ended, before the inventory is told. */
export class QemuVm implements RunningVm {
  readonly startedAt = new Date();
  private readonly rpc: GuestRpcServer;
  private exit: VmExit | null = null;
  private readonly gone: Promise<void>;
  private released = false;

  constructor(
    private readonly identity: ProcessIdentity,
    private readonly qmp: Qmp,
    private readonly files: VmFiles,
    private readonly hooks: VmHooks,
    private readonly cleanUp: () => Promise<void>,
  ) {
    this.rpc = new GuestRpcServer(files.guestRpc, hooks);
    qmp.on('event', (name, data) => this.event(name, data));
    this.gone = new Promise((resolve) => qmp.once('close', () => void this.finish().then(resolve)));
  }

  get pid(): number {
    return this.identity.pid;
  }

  async powerOff(): Promise<void> {
    this.exit ??= { reason: 'powerOff' };
    await this.end();
  }

  async reset(): Promise<void> {
    this.exit ??= { reason: 'guestReset' };
    await this.end();
  }

  async shutdownGuest(): Promise<void> {
    this.rpc.command('OS_Halt');
  }

  async rebootGuest(): Promise<void> {
    this.rpc.command('OS_Reboot');
  }

  async suspend(): Promise<void> {
    await this.qmp.command('stop');
  }

  async resume(): Promise<void> {
    await this.qmp.command('cont');
  }

  async usage(): Promise<{ residentBytes: number; cpuSeconds: number }> {
    return usage(this.pid);
  }

  release(): void {
    this.released = true;
    this.qmp.release();
    this.rpc.close();
  }

  private event(name: string, data: Record<string, unknown>): void {
    if (name !== 'SHUTDOWN') return;
    if (data.reason === 'guest-shutdown') this.exit ??= { reason: 'guestPowerOff' };
    else if (data.reason === 'guest-reset') this.exit ??= { reason: 'guestReset' };
    else if (data.reason === 'guest-panic') this.exit ??= { reason: 'crashed', message: 'the guest kernel panicked' };
  }

  private async end(): Promise<void> {
    void this.qmp.command('quit').catch(() => undefined);
    if (!(await ended(this.identity, QUIT_MS))) signal(this.identity, 'SIGKILL');
    await this.gone;
  }

  private async finish(): Promise<void> {
    if (this.released) return;
    if (!(await ended(this.identity, QUIT_MS))) {
      signal(this.identity, 'SIGKILL');
      await ended(this.identity, QUIT_MS);
    }
    this.rpc.close();
    await Promise.all(Object.values(this.files).map((path: string) => rm(path, { force: true })));
    await this.cleanUp().catch((error: unknown) => log.error({ err: error }, 'cleaning up after a VM failed'));
    this.hooks.exited(this.exit ?? { reason: 'crashed', message: 'QEMU ended unexpectedly' });
  }

  /** True while the process runs. */
  get running(): boolean {
    return isRunning(this.identity);
  }
}
