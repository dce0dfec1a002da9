/** The port groups of the virtual switch, each with its network in the inventory. */
import type { ManagedObjectReference } from '../../vim25/server.js';
import { callerSees } from '../access/caller.js';
import { fault } from '../faults.js';
import type { Registry } from '../objects/registry.js';
import { networkRef } from '../references.js';
import type { SecurityPolicy } from '../switch/security-policy.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';
import type { PortGroupList } from '../vm/vm-host.js';
import { Network } from './network.js';

const MAX_NAME = 80;

/** What the port groups need of the rest of the inventory. */
export interface PortGroupHost {
  readonly registry: Registry;
  readonly virtualSwitch: Pick<VirtualSwitch, 'addPortGroup' | 'removePortGroup' | 'setPolicy'> | null;
  /** VMs with a card in that port group. */
  vmsIn(portGroup: string): ManagedObjectReference[];
  save(): Promise<void>;
}

export class PortGroups implements PortGroupList {
  private readonly policies = new Map<string, SecurityPolicy>();

  constructor(private readonly host: PortGroupHost) {}

  /** What each port group lets its cards do. */
  all(): ReadonlyMap<string, SecurityPolicy> {
    return this.policies;
  }

  seen(): ReadonlyMap<string, SecurityPolicy> {
    return new Map(
      [...this.policies].filter(([name]) => {
        const network = this.host.registry.find(networkRef(name));
        return network !== undefined && callerSees(network);
      }),
    );
  }

  networkOf(portGroup: string): ManagedObjectReference | undefined {
    return this.policies.has(portGroup) ? networkRef(portGroup) : undefined;
  }

  networks(): ManagedObjectReference[] {
    return [...this.policies.keys()].map(networkRef);
  }

  /** Brings up a port group that was kept. */
  async open(name: string, policy: SecurityPolicy): Promise<void> {
    await this.host.virtualSwitch?.addPortGroup(name, policy);
    this.policies.set(name, policy);
    this.host.registry.add(new Network(name, () => this.host.vmsIn(name)));
  }

  /** @throws InvalidName, AlreadyExists */
  async add(name: string, policy: SecurityPolicy): Promise<void> {
    if (name === '' || name.length > MAX_NAME)
      throw fault('InvalidName', `'${name}' is not a name for a port group`, { name });
    if (this.policies.has(name)) throw fault('AlreadyExists', `The port group '${name}' already exists`, { name });
    await this.open(name, policy);
    await this.host.save();
  }

  /** Changes what the cards of a port group may do, at once. @throws NotFound */
  async change(name: string, policy: SecurityPolicy): Promise<void> {
    this.mustExist(name);
    await this.host.virtualSwitch?.setPolicy(name, policy);
    this.policies.set(name, policy);
    await this.host.save();
  }

  /** @throws NotFound, ResourceInUse */
  async remove(name: string): Promise<void> {
    this.mustExist(name);
    if (this.host.vmsIn(name).length > 0)
      throw fault('ResourceInUse', `The port group '${name}' is in use`, { type: 'Network', name });
    await this.host.virtualSwitch?.removePortGroup(name);
    this.policies.delete(name);
    const network = this.host.registry.find(networkRef(name));
    if (network !== undefined) this.host.registry.remove(network);
    await this.host.save();
  }

  private mustExist(name: string): void {
    if (!this.policies.has(name)) throw fault('NotFound', `There is no port group '${name}'`);
  }
}
