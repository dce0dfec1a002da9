/**
 * Runs the endpoint VM: the one VM that is not QEMU but a local process. It gets its `guestinfo.*` keys as a file, a network
 * namespace with its cards, and is restarted with back-off when it dies while the VM is powered on.
 */
import { spawn } from 'node:child_process';
import { mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { internal } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { InstancePaths } from '../../common/paths.js';
import { ended, identify, isRunning, type ProcessIdentity, signal, usage } from '../process-id.js';
import type { RunningVm, VmDefinition, VmHooks, VmRuntime } from '../runtime.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';

const log = logger('endpoint-vm');
const STOP_MS = 8000;
const WATCH_MS = 200;
const MAX_BACKOFF_MS = 30_000;
const STABLE_MS = 60_000;

/** True for a VM that this runtime carries. */
export function isEndpoint(vm: VmDefinition): boolean {
  return vm.extraConfig.get('caisson.appliance') === 'endpoint';
}

/** Local processes as the carrier of endpoint VMs. */
export class ProcessRuntime implements VmRuntime {
  constructor(
    private readonly paths: InstancePaths,
    private readonly virtualSwitch: VirtualSwitch,
    private readonly program = fileURLToPath(new URL('../../../appliance/main.js', import.meta.url)),
  ) {}

  async powerOn(vm: VmDefinition, hooks: VmHooks): Promise<RunningVm> {
    const netns = await this.virtualSwitch.connectEndpoint(vm.moid, vm.nics);
    const running = new EndpointVm(vm, hooks, await this.directory(), this.program, netns, () =>
      this.virtualSwitch.disconnectEndpoint(vm.moid),
    );
    await running.start();
    return running;
  }

  async adopt(vm: VmDefinition, hooks: VmHooks): Promise<RunningVm | null> {
    const directory = await this.directory();
    const identity = await readFile(join(directory, `${vm.moid}.pid`), 'utf8').then(
      (text) => JSON.parse(text) as ProcessIdentity,
      () => null,
    );
    if (identity === null || !isRunning(identity)) {
      await this.virtualSwitch.disconnectEndpoint(vm.moid);
      return null;
    }
    const netns = await this.virtualSwitch.connectEndpoint(vm.moid, vm.nics);
    const running = new EndpointVm(vm, hooks, directory, this.program, netns, () =>
      this.virtualSwitch.disconnectEndpoint(vm.moid),
    );
    running.watch(identity);
    return running;
  }

  private async directory(): Promise<string> {
    const directory = join(this.paths.runDir, 'endpoint');
    await mkdir(directory, { recursive: true, mode: 0o700 });
    return directory;
  }
}

class EndpointVm implements RunningVm {
  readonly startedAt = new Date();
  private identity: ProcessIdentity | null = null;
  private timer: NodeJS.Timeout | null = null;
  private stopping = false;
  private backoff = 1000;
  private since = Date.now();

  constructor(
    private readonly vm: VmDefinition,
    private readonly hooks: VmHooks,
    private readonly directory: string,
    private readonly program: string,
    private readonly netns: string,
    private readonly cleanUp: () => Promise<void>,
  ) {}

  get pid(): number {
    return this.identity?.pid ?? 0;
  }

  async start(): Promise<void> {
    const guestInfo = join(this.directory, `${this.vm.moid}.guestinfo.json`);
    const keys = [...this.vm.extraConfig].filter(([key]) => key.startsWith('guestinfo.'));
    await writeFile(guestInfo, JSON.stringify(Object.fromEntries(keys)), { mode: 0o600 });
    const output = await open(join(this.vm.directory, 'endpoint.log'), 'a', 0o600);
    try {
      const child = spawn(process.execPath, [this.program], {
        detached: true,
        cwd: '/',
        stdio: ['ignore', output.fd, output.fd],
        env: { ...process.env, CAISSON_GUESTINFO: guestInfo, CAISSON_VM_UUID: this.vm.uuid, CAISSON_NETNS: this.netns },
      });
      const pid = await new Promise<number>((resolve, reject) => {
        child.once('spawn', () => resolve(child.pid!));
        child.once('error', (error) => reject(internal(`cannot start the endpoint: ${error.message}`, error)));
      });
      child.unref();
      const identity = identify(pid);
      if (identity === null) throw internal('the endpoint ended at once');
      await writeFile(join(this.directory, `${this.vm.moid}.pid`), JSON.stringify(identity));
      this.since = Date.now();
      this.watch(identity);
    } finally {
      await output.close();
    }
  }

  watch(identity: ProcessIdentity): void {
    this.identity = identity;
    this.timer = setInterval(() => {
      if (this.identity !== null && !isRunning(this.identity)) this.died();
    }, WATCH_MS);
    this.timer.unref();
  }

  async powerOff(): Promise<void> {
    await this.stop('SIGTERM');
    this.hooks.exited({ reason: 'powerOff' });
  }

  async reset(): Promise<void> {
    await this.stop('SIGTERM');
    this.hooks.exited({ reason: 'guestReset' });
  }

  async shutdownGuest(): Promise<void> {
    void this.stop('SIGTERM').then(() => this.hooks.exited({ reason: 'guestPowerOff' }));
  }

  async rebootGuest(): Promise<void> {
    void this.reset();
  }

  async suspend(): Promise<void> {
    throw internal('an endpoint VM cannot be suspended');
  }

  async resume(): Promise<void> {
    throw internal('an endpoint VM cannot be resumed');
  }

  async usage(): Promise<{ residentBytes: number; cpuSeconds: number }> {
    return usage(this.pid);
  }

  release(): void {
    if (this.timer !== null) clearInterval(this.timer);
  }

  private async stop(name: NodeJS.Signals): Promise<void> {
    this.stopping = true;
    this.release();
    if (this.identity !== null) {
      signal(this.identity, name);
      if (!(await ended(this.identity, STOP_MS))) {
        signal(this.identity, 'SIGKILL', true);
        await ended(this.identity, STOP_MS);
      }
    }
    await rm(join(this.directory, `${this.vm.moid}.pid`), { force: true });
    await rm(join(this.directory, `${this.vm.moid}.guestinfo.json`), { force: true });
    await this.cleanUp();
  }

  private died(): void {
    this.release();
    if (this.stopping) return;
    if (Date.now() - this.since > STABLE_MS) this.backoff = 1000;
    log.warn({ vm: this.vm.name, retryMs: this.backoff }, 'the endpoint ended unexpectedly and is restarted');
    setTimeout(() => {
      if (!this.stopping)
        void this.start().catch((error: unknown) => log.error({ err: error }, 'restarting the endpoint failed'));
    }, this.backoff);
    this.backoff = Math.min(this.backoff * 2, MAX_BACKOFF_MS);
  }
}
