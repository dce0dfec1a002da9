/**
 * A handle gathers changes to a container's VM and commits them as one ReconfigVM_Task, guarded by the changeVersion that it was made for,
 * and at most one power operation. If somebody else changed the VM in the meantime, the changes are gathered again on a new handle.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isKind } from '../../src/common/errors.js';
import {
  type Attachment,
  backingOf,
  type ManagedObjectReference,
  type VimClient,
  VimFault,
  type VirtualMachineConfigSpec,
  type VirtualVmxnet3,
} from '../../src/vim25/index.js';
import type { Card } from '../network/endpoints.js';

const ATTEMPTS = 5;

/** A network card in a request. */
export function card(
  key: number,
  attachment: Attachment,
  mac: string | undefined,
): VirtualVmxnet3 & { $type: 'VirtualVmxnet3' } {
  return {
    $type: 'VirtualVmxnet3',
    key,
    backing: backingOf(attachment),
    connectable: { startConnected: true, allowGuestControl: true, connected: true },
    ...(mac === undefined ? { addressType: 'generated' } : { addressType: 'manual', macAddress: mac }),
  };
}

/** Gathered changes of one VM. */
export class Handle {
  private readonly spec: VirtualMachineConfigSpec = {};
  private power: 'on' | null = null;

  constructor(
    private readonly client: VimClient,
    private readonly vm: ManagedObjectReference,
    readonly changeVersion: string,
  ) {}

  /** Sets a key; '' removes it. */
  key(key: string, value: string): this {
    this.spec.extraConfig = [...(this.spec.extraConfig ?? []), { key, value }];
    return this;
  }

  name(name: string): this {
    this.spec.name = name;
    return this;
  }

  /** A new network card. @param mac undefined: the host makes one */
  addCard({ mac, ...attachment }: Attachment & { mac?: string | undefined }): this {
    return this.device({ operation: 'add', device: card(-1, attachment, mac) });
  }

  /** Moves a card to another port group; it keeps its address. */
  moveCard({ key, mac }: Card, to: Attachment): this {
    return this.device({ operation: 'edit', device: card(key, to, mac) });
  }

  removeCard(key: number): this {
    return this.device({ operation: 'remove', device: { $type: 'VirtualVmxnet3', key } });
  }

  /** @param disk its file is there */
  addDisk(disk: NonNullable<VirtualMachineConfigSpec['deviceChange']>[number]): this {
    return this.device(disk);
  }

  /** Its file stays. */
  removeDisk(key: number): this {
    return this.device({ operation: 'remove', device: { $type: 'VirtualDisk', key, capacityInKB: 0 } });
  }

  private device(change: NonNullable<VirtualMachineConfigSpec['deviceChange']>[number]): this {
    this.spec.deviceChange = [...(this.spec.deviceChange ?? []), change];
    return this;
  }

  /** Only for a VM that is off. */
  hardware({ cpus, memoryMiB }: { cpus: number; memoryMiB: number }): this {
    this.spec.numCPUs = cpus;
    this.spec.memoryMB = memoryMiB;
    return this;
  }

  /** Its weight compared to other VMs. */
  cpuShares(shares: number): this {
    this.spec.cpuAllocation = { shares: { level: 'custom', shares } };
    return this;
  }

  powerOn(): this {
    this.power = 'on';
    return this;
  }

  /** @throws VimFault ConcurrentAccess when the VM has changed since */
  async commit(signal?: AbortSignal): Promise<void> {
    if (Object.keys(this.spec).length > 0) {
      await this.client.runTask(
        'ReconfigVM_Task',
        this.vm,
        { spec: { ...this.spec, changeVersion: this.changeVersion } },
        { signal },
      );
    }
    if (this.power === 'on') await this.client.runTask('PowerOnVM_Task', this.vm, {}, { signal });
  }
}

/** Gathers a change with `join` and commits it; starts again with a new handle as long as others change the VM too. */
export async function change(
  client: VimClient,
  vm: ManagedObjectReference,
  knownVersion: string | null,
  join: (handle: Handle) => void,
  signal?: AbortSignal,
): Promise<void> {
  let version = knownVersion;
  for (let attempt = 1; ; attempt++) {
    if (version === null) {
      const [object] = await client.retrieve([vm], 'VirtualMachine', ['config.changeVersion']);
      version = String(object?.props['config.changeVersion'] ?? '');
    }
    const handle = new Handle(client, vm, version);
    join(handle);
    try {
      await handle.commit(signal);
      return;
    } catch (error) {
      if (
        attempt === ATTEMPTS ||
        !(error instanceof VimFault && isKind(error, 'conflict') && error.is('ConcurrentAccess'))
      )
        throw error;
      version = null;
      await sleep(5 * attempt);
    }
  }
}
