/**
 * The endpoint's own VM: keys that are kept with it, and read back when the endpoint is started again. It is in the pool of the containers'
 * VMs, so news about it comes with theirs.
 */
import type { ManagedObjectReference, VimClient } from '../../src/vim25/index.js';
import { PortLayerError } from '../errors.js';

const ENDPOINT_KEY = 'caisson.appliance';
const OWNER_KEY = 'caisson.vch';

/** Keys of the endpoint's VM. */
export interface EndpointKeys {
  /** Whether there is such a VM. */
  readonly known: boolean;
  /** As last heard of. */
  get(key: string): string | undefined;
  /** Reads a key anew. @throws unavailable without a VM */
  read(key: string): Promise<string | undefined>;
  /** Sets keys; '' removes one. @throws unavailable without a VM, VimFault */
  set(keys: Record<string, string>): Promise<void>;
  /** Called when keys have changed, whoever changed them. Returns the unsubscriber. */
  onChange(listener: () => void): () => void;
}

/** Follows the VM. */
export class OwnVmKeys implements EndpointKeys {
  private ref: ManagedObjectReference | null = null;
  private keys: ReadonlyMap<string, string> = new Map();
  private readonly listeners = new Set<() => void>();

  constructor(
    private readonly client: Pick<VimClient, 'runTask' | 'retrieve'>,
    private readonly id: string,
  ) {}

  get known(): boolean {
    return this.ref !== null;
  }

  /** News about a VM. @returns whether it is the endpoint's */
  observe(vm: { ref: ManagedObjectReference; keys: ReadonlyMap<string, string> }): boolean {
    if (!vm.keys.has(ENDPOINT_KEY) || vm.keys.get(OWNER_KEY) !== this.id) return false;
    this.ref = vm.ref;
    this.keys = vm.keys;
    for (const listener of this.listeners) listener();
    return true;
  }

  get(key: string): string | undefined {
    return this.keys.get(key);
  }

  async read(key: string): Promise<string | undefined> {
    const [object] = await this.client.retrieve([this.vm()], 'VirtualMachine', ['config.extraConfig']);
    const options = (object?.props['config.extraConfig'] ?? []) as { key: string; value?: unknown }[];
    const found = options.find((option) => option.key === key)?.value;
    return found === undefined ? undefined : String(found);
  }

  async set(keys: Record<string, string>): Promise<void> {
    await this.client.runTask('ReconfigVM_Task', this.vm(), {
      spec: { extraConfig: Object.entries(keys).map(([key, value]) => ({ key, value })) },
    });
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private vm(): ManagedObjectReference {
    if (this.ref === null) throw new PortLayerError('endpoint.noVm', {});
    return this.ref;
  }
}
