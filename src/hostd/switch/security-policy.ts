/** What a port group lets its cards do: vSphere's HostNetworkSecurityPolicy, with this switch's reading of it. */

/** As in vSphere, true is "accept". */
export interface SecurityPolicy {
  /** Always false: this switch shows no card the frames of others. */
  allowPromiscuous: boolean;
  /** Together with `forgedTransmits`: frames for other addresses that a card has sent from reach it (the bridge learns). */
  macChanges: boolean;
  /** Frames are passed on whatever their kinds and sender addresses (MAC, ARP, IPv4, IPv6). */
  forgedTransmits: boolean;
}

/** The policy of a port group that has no other. */
export const REJECT_ALL: SecurityPolicy = { allowPromiscuous: false, macChanges: false, forgedTransmits: false };

/** True when nothing differs. */
export function samePolicy(one: SecurityPolicy, other: SecurityPolicy): boolean {
  return (
    one.allowPromiscuous === other.allowPromiscuous &&
    one.macChanges === other.macChanges &&
    one.forgedTransmits === other.forgedTransmits
  );
}
