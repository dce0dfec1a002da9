/** A vim25 host with one VM, for the exec component: the test decides what it reports about the VM, and when. */
import type { Containers } from '../../port-layer/exec/containers.js';
import { readVm } from '../../port-layer/exec/vm-report.js';
import { type VimClient, VimFault } from '../../src/vim25/index.js';

const VM = { type: 'VirtualMachine', value: 'vm-1' };
const STATUS = 'guestinfo.caisson.run.status';

interface Option {
  key: string;
  value?: unknown;
}

/** See the file's head. */
export class FakeVmHost {
  /** All calls, in order. */
  readonly calls: string[] = [];
  private readonly keys = new Map<string, string>();
  private on = false;
  private version = 1;
  /** The next reconfiguration waits for this before it reaches the host. */
  private held: Promise<void> | null = null;

  /** @param whenOn what the VM does once it is powered on */
  constructor(public whenOn: (host: FakeVmHost) => void = () => undefined) {}

  /** The part of a client that is used. */
  get client(): VimClient {
    return {
      runTask: (name: string, _ref: unknown, args: unknown) => this.runTask(name, args),
      retrieve: async () => {
        this.calls.push('retrieve');
        return [{ obj: VM, props: this.properties() }];
      },
    } as unknown as VimClient;
  }

  /** The guest reports just before it is off. */
  powerOff(status: string): void {
    this.keys.set(STATUS, status);
    this.on = false;
  }

  /** Holds back the next reconfiguration until the caller releases it. */
  holdNext(): () => void {
    let release = (): void => undefined;
    this.held = new Promise((resolve) => {
      release = resolve;
    });
    return release;
  }

  /** The inventory reports the VM's current state. */
  tell({ observer }: Containers): void {
    const props = this.properties();
    observer.observe(readVm(VM, (path) => props[path]));
  }

  powerOn(status = ''): void {
    this.on = true;
    this.keys.set(STATUS, status);
  }

  private properties(): Record<string, unknown> {
    return {
      'runtime.powerState': this.on ? 'poweredOn' : 'poweredOff',
      'config.extraConfig': [...this.keys].map(([key, value]) => ({ key, value })),
      'config.changeVersion': String(this.version),
      'config.uuid': 'uuid',
      'config.hardware': { device: [] },
    };
  }

  private async runTask(name: string, args: unknown): Promise<unknown> {
    this.calls.push(name);
    const { config, spec } = args as Partial<
      Record<'config' | 'spec', { extraConfig?: Option[]; changeVersion?: string }>
    >;
    if (spec !== undefined) {
      const { held } = this;
      this.held = null;
      await held;
      if (spec.changeVersion !== String(this.version))
        throw new VimFault(name, { $type: 'ConcurrentAccess' }, 'the VM has changed');
      this.version++;
    }
    for (const { key, value } of (config ?? spec)?.extraConfig ?? []) this.keys.set(key, String(value));
    if (name === 'PowerOffVM_Task') this.on = false;
    if (name === 'PowerOnVM_Task') {
      this.powerOn();
      this.whenOn(this);
    }
    return VM;
  }
}
