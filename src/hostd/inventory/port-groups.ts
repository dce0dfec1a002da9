/** The port groups of the virtual switch, each with its network in the inventory. */
import type { ManagedObjectReference } from '../../vim25/server.js';
import { type Caller, callerSees, noPermission, restrictedCaller } from '../access/caller.js';
import { tooMuch } from '../access/holdings.js';
import { fault } from '../faults.js';
import type { Registry } from '../objects/registry.js';
import { HOST_SYSTEM, NETWORK_FOLDER, networkRef } from '../references.js';
import { ORDINARY, type PortGroupSettings } from '../switch/port-group-settings.js';
import { REJECT_ALL, type SecurityPolicy, samePolicy } from '../switch/security-policy.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';
import type { PortGroupList } from '../vm/vm-host.js';
import { Network } from './network.js';
import { wishedSettings } from './wished-settings.js';

const MAX_NAME = 80;
/** How many port groups one virtual container host may make. */
const MAX_OWN = 250;
const CONFIGURE = 'Host.Config.Network';

/** What the port groups need of the rest of the inventory. */
export interface PortGroupHost {
  readonly registry: Registry;
  readonly virtualSwitch: Pick<
    VirtualSwitch,
    'addPortGroups' | 'removePortGroup' | 'setPolicy' | 'configurePortGroup'
  > | null;
  /** VMs with a card in that port group. */
  vmsIn(portGroup: string): ManagedObjectReference[];
  /** Ids of the virtual container hosts whose login the caller has. */
  vchsOf(caller: Caller): string[];
  save(): Promise<void>;
}

export class PortGroups implements PortGroupList {
  private readonly policies = new Map<string, SecurityPolicy>();
  /** The virtual container hosts that made port groups, by the port group's name. */
  private readonly madeBy = new Map<string, string>();
  /** Settings of those that differ from {@link ORDINARY}. */
  private readonly settings = new Map<string, PortGroupSettings>();
  /** Names of port groups that are being made. */
  private readonly making = new Map<string, string>();

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

  /** Which virtual container host has made each port group; an administrator's are left out. */
  owners(): ReadonlyMap<string, string> {
    return this.madeBy;
  }

  /** Brings up port groups that were kept. @param owners ids of the virtual container hosts that made some of them */
  async open(policies: ReadonlyMap<string, SecurityPolicy>, owners: ReadonlyMap<string, string>): Promise<void> {
    await this.host.virtualSwitch?.addPortGroups(policies);
    for (const [name, policy] of policies) {
      const owner = owners.get(name);
      this.policies.set(name, policy);
      if (owner !== undefined) this.madeBy.set(name, owner);
      this.host.registry.add(new Network(name, () => this.host.vmsIn(name), owner));
    }
  }

  /**
   * Makes a port group. One that the login of a virtual container host makes is that host's: its login may assign and change it, others do
   * not see it.
   * @throws InvalidName, AlreadyExists, NoPermission, LimitExceeded
   */
  async add(name: string, policy: SecurityPolicy): Promise<void> {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be in a name
    if (name === '' || name.length > MAX_NAME || /[\x00-\x1f\x7f]/.test(name))
      throw fault('InvalidName', `'${name}' is not a name for a port group`, { name });
    if (this.policies.has(name) || this.making.has(name))
      throw fault('AlreadyExists', `The port group '${name}' already exists`, { name });
    const owner = this.ownerOfNew();
    this.checkPolicy(policy, REJECT_ALL);
    this.making.set(name, owner ?? '');
    try {
      await this.open(new Map([[name, policy]]), new Map(owner === undefined ? [] : [[name, owner]]));
    } finally {
      this.making.delete(name);
    }
    await this.host.save();
  }

  /** Changes what the cards of a port group may do, at once. @throws NotFound, NoPermission */
  async change(name: string, policy: SecurityPolicy): Promise<void> {
    this.mustBeCallers(name);
    this.checkPolicy(policy, this.policies.get(name) ?? REJECT_ALL);
    await this.host.virtualSwitch?.setPolicy(name, policy);
    this.policies.set(name, policy);
    await this.host.save();
  }

  /** @throws NotFound, ResourceInUse, NoPermission */
  async remove(name: string): Promise<void> {
    this.mustBeCallers(name);
    if (this.host.vmsIn(name).length > 0)
      throw fault('ResourceInUse', `The port group '${name}' is in use`, { type: 'Network', name });
    await this.drop(name);
    await this.host.save();
  }

  /** Removes the port groups that a virtual container host has made, apart from those that are in use. */
  async removeOf(vch: string): Promise<void> {
    const unused = [...this.madeBy].filter(([name, owner]) => owner === vch && this.host.vmsIn(name).length === 0);
    for (const [name] of unused) await this.drop(name);
    if (unused.length > 0) await this.host.save();
  }

  checkWishes(extraConfig: ReadonlyMap<string, string>): void {
    wishedSettings(extraConfig);
  }

  async settle(vch: string, extraConfig: ReadonlyMap<string, string>): Promise<void> {
    const wished = wishedSettings(extraConfig);
    for (const [name, owner] of this.madeBy) {
      if (owner !== vch) continue;
      const [before, after] = [this.settings.get(name) ?? ORDINARY, wished.get(name) ?? ORDINARY];
      if (before.isolated === after.isolated && before.mtu === after.mtu) continue;
      await this.host.virtualSwitch?.configurePortGroup(name, after);
      this.settings.set(name, after);
    }
  }

  private async drop(name: string): Promise<void> {
    this.policies.delete(name);
    this.settings.delete(name);
    this.madeBy.delete(name);
    const network = this.host.registry.find(networkRef(name));
    if (network !== undefined) this.host.registry.remove(network);
    await this.host.virtualSwitch?.removePortGroup(name);
  }

  /** The virtual container host that a port group would belong to. @throws NoPermission, LimitExceeded */
  private ownerOfNew(): string | undefined {
    const caller = restrictedCaller();
    if (caller === undefined) return undefined;
    const [owner] = this.host.vchsOf(caller);
    if (owner === undefined) {
      if (caller.has(this.host.registry.get(NETWORK_FOLDER), CONFIGURE)) return undefined;
      throw noPermission(HOST_SYSTEM, CONFIGURE, 'this login belongs to no virtual container host');
    }
    const own = [...this.madeBy.values(), ...this.making.values()].filter((one) => one === owner);
    if (own.length >= MAX_OWN) throw tooMuch(MAX_OWN, 'the number of port groups');
    return owner;
  }

  /** @throws NotFound also for a port group that the caller does not see, NoPermission for one that others have made */
  private mustBeCallers(name: string): void {
    const network = this.host.registry.find(networkRef(name));
    if (!this.policies.has(name) || network === undefined || !callerSees(network))
      throw fault('NotFound', `There is no port group '${name}'`);
    const caller = restrictedCaller();
    if (caller === undefined || caller.has(network, CONFIGURE)) return;
    const owner = this.madeBy.get(name);
    if (owner === undefined || !this.host.vchsOf(caller).includes(owner))
      throw noPermission(
        network.ref,
        CONFIGURE,
        'only port groups that this virtual container host has made are its own',
      );
  }

  /** Cards that send under others' addresses are for an administrator to allow. @throws NoPermission */
  private checkPolicy(policy: SecurityPolicy, before: SecurityPolicy): void {
    if (restrictedCaller() !== undefined && !samePolicy(policy, REJECT_ALL) && !samePolicy(policy, before))
      throw noPermission(
        HOST_SYSTEM,
        CONFIGURE,
        'the security policy of a port group is for an administrator to relax',
      );
  }
}
