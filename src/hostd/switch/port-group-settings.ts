/** What a virtual container host says of its port groups, besides their security policy. vSphere has nothing like it for standard ones. */

export interface PortGroupSettings {
  /** Cards of VMs do not reach each other, only the gateway. */
  isolated: boolean;
  /** How large packets may be. */
  mtu: number;
}

/** Of Ethernet; the settings of a port group that nothing was said of. */
export const ORDINARY: PortGroupSettings = { isolated: false, mtu: 1500 };
