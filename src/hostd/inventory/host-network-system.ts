/** HostNetworkSystem: port groups. There is one virtual switch, vSwitch0. */
import type { HostPortGroupSpec } from '../../vim25/types.generated.js';
import { fault } from '../faults.js';
import { REJECT_ALL, type SecurityPolicy } from '../switch/security-policy.js';
import type { Host } from './host.js';
import { hostDns, hostNetwork, hostRoutes } from './host-info.js';
import { ManagedObject } from '../objects/managed-object.js';

const SWITCH = 'vSwitch0';

/** Adds and removes port groups. */
export class HostNetworkSystem extends ManagedObject {
  constructor(private readonly host: Host) {
    super('HostNetworkSystem', 'networkSystem');
  }

  override get types(): string[] {
    return ['HostNetworkSystem'];
  }

  property(name: string): unknown {
    switch (name) {
      case 'networkInfo':
        return hostNetwork(this.host.portGroups);
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
    await this.host.addPortGroup(args.portgrp.name, this.check(args.portgrp, REJECT_ALL));
  }

  /** The security policy of a port group can be changed, nothing else. */
  async UpdatePortGroup(args: { pgName: string; portgrp: HostPortGroupSpec }): Promise<void> {
    const before = this.host.portGroups.get(args.pgName);
    if (before === undefined) throw fault('NotFound', `There is no port group '${args.pgName}'`);
    const policy = this.check(args.portgrp, before);
    if (args.portgrp.name !== args.pgName) throw fault('HostConfigFault', 'Port groups cannot be renamed on this host');
    await this.host.changePortGroup(args.pgName, policy);
  }

  /** What is not said stays as `before`. @throws NotFound, HostConfigFault for what this host cannot do */
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
    await this.host.removePortGroup(args.pgName);
  }
}
