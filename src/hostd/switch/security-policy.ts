/** What a port group lets its cards do: vSphere's HostNetworkSecurityPolicy, with this switch's reading of it. */

/** As in vSphere, true is "accept". */
export interface SecurityPolicy {
  /** Always false: this switch never shows a card the frames of others. */
  allowPromiscuous: boolean;
  /** Together with `forgedTransmits`: frames for other addresses that a card has sent from reach it (the bridge learns). */
  macChanges: boolean;
  /** Frames are passed on whatever their kind and sender addresses (MAC, ARP, IPv4, IPv6). */
  forgedTransmits: boolean;
}

/** The default policy of a port group. */
export const REJECT_ALL: SecurityPolicy = { allowPromiscuous: false, macChanges: false, forgedTransmits: false };

/** True if two policies are the same. */
export function samePolicy(one: SecurityPolicy, other: SecurityPolicy): boolean {
  return (
    one.allowPromiscuous === other.allowPromiscuous &&
    one.macChanges === other.macChanges &&
    one.forgedTransmits === other.forgedTransmits
  );
}
