/** HostNetworkSystem: the port groups of the one virtual switch. Callers see those that they may know of, and change their own. */
import type { HostPortGroupSpec } from '../../vim25/server.js';
import { fault } from '../faults.js';
import { ManagedObject } from '../objects/managed-object.js';
import { NETWORK_SYSTEM } from '../references.js';
import { REJECT_ALL, type SecurityPolicy } from '../switch/security-policy.js';
import { hostDns, hostNetwork, hostRoutes, SWITCH } from './host/host-network-info.js';
import type { PortGroups } from './port-groups.js';

export class HostNetworkSystem extends ManagedObject {
  constructor(private readonly portGroups: PortGroups) {
    super('HostNetworkSystem', NETWORK_SYSTEM.value);
  }

  override get types(): string[] {
    return ['HostNetworkSystem'];
  }

  property(name: string): unknown {
    switch (name) {
      case 'networkInfo':
        return hostNetwork(this.portGroups.seen());
      case 'dnsConfig':
        return hostDns();
      case 'ipRouteConfig':
        return hostRoutes();
      default:
        return undefined;
    }
  }

  propertyNames(): string[] {
    return ['networkInfo', 'dnsConfig', 'ipRouteConfig'];
  }

  async AddPortGroup(args: { portgrp: HostPortGroupSpec }): Promise<void> {
    await this.portGroups.add(args.portgrp.name, this.check(args.portgrp, REJECT_ALL));
  }

  /** The security policy of a port group can be changed, nothing else. */
  async UpdatePortGroup(args: { pgName: string; portgrp: HostPortGroupSpec }): Promise<void> {
    const before = this.portGroups.seen().get(args.pgName);
    if (before === undefined) throw fault('NotFound', `There is no port group '${args.pgName}'`);
    const policy = this.check(args.portgrp, before);
    if (args.portgrp.name !== args.pgName) throw fault('HostConfigFault', 'Port groups cannot be renamed on this host');
    await this.portGroups.change(args.pgName, policy);
  }

  /** The policy that a request asks for; what it leaves out stays as `before`. @throws NotFound, HostConfigFault for what this host cannot do */
  private check({ vlanId, vswitchName, policy }: HostPortGroupSpec, before: SecurityPolicy): SecurityPolicy {
    if (vswitchName !== SWITCH)
      throw fault('NotFound', `There is no virtual switch '${vswitchName}'; this host has ${SWITCH}`);
    if (vlanId !== 0) throw fault('HostConfigFault', 'VLANs are not supported by this host: use vlanId 0');
    const { allowPromiscuous, macChanges, forgedTransmits } = policy?.security ?? {};
    if (allowPromiscuous === true)
      throw fault(
        'HostConfigFault',
        'Promiscuous mode is not supported by this host: no card is shown the frames of others',
      );
    return {
      allowPromiscuous: false,
      macChanges: macChanges ?? before.macChanges,
      forgedTransmits: forgedTransmits ?? before.forgedTransmits,
    };
  }

  async RemovePortGroup(args: { pgName: string }): Promise<void> {
    await this.portGroups.remove(args.pgName);
  }
}
