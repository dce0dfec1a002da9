/** HostNetworkSystem: port groups. There is one virtual switch, vSwitch0. */
import { fault } from '../faults.js';
import type { Host } from './host.js';
import { hostDns, hostNetwork, hostRoutes } from './host-info.js';
import { ManagedObject } from './managed-object.js';

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

  async AddPortGroup(args: { portgrp: { name: string; vlanId: number; vswitchName: string } }): Promise<void> {
    const { name, vlanId, vswitchName } = args.portgrp;
    if (vswitchName !== SWITCH)
      throw fault('NotFound', `There is no virtual switch '${vswitchName}'; this host has ${SWITCH}`);
    if (vlanId !== 0) throw fault('HostConfigFault', 'VLANs are not supported by this host: use vlanId 0');
    await this.host.addPortGroup(name);
  }

  async RemovePortGroup(args: { pgName: string }): Promise<void> {
    await this.host.removePortGroup(args.pgName);
  }
}
