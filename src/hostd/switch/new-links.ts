/**
 * New interfaces, as messages to the kernel (`netlink.ts`): what `ip link add` sends.
 *
 * Facts: rtnetlink(7), <linux/if_link.h>, <linux/veth.h>. `fdb_max_learned` is newer than some of these headers: Linux 6.7.
 */
import { byte, IFLA_IFNAME, IFLA_LINKINFO, link, mac, NEW_LINK } from './link-messages.js';
import { attribute, CREATE, EXCLUSIVE, type Message, nest, text, u32 } from './netlink.js';
import { OTHER_NAMESPACE } from './netlink-helper.js';

const IFLA_ADDRESS = 1;
const IFLA_NET_NS_FD = 28;
const INFO_KIND = 1;
const INFO_DATA = 2;
const BR_FORWARD_DELAY = 1;
const BR_MCAST_SNOOPING = 23;
const BR_FDB_MAX_LEARNED = 49;
const VETH_INFO_PEER = 1;

/** How a bridge works. */
export interface BridgeSettings {
  /** How many entries it may learn; null: the kernel sets no limit, or knows none. */
  maxLearned: number | null;
}

/** Makes a bridge, or sets one that exists already. It forwards at once, and multicasts to all ports. */
export function bridgeLink(name: string, { maxLearned }: BridgeSettings): Message {
  const settings = [
    attribute(BR_FORWARD_DELAY, u32(0)),
    attribute(BR_MCAST_SNOOPING, byte(false)),
    ...(maxLearned === null ? [] : [attribute(BR_FDB_MAX_LEARNED, u32(maxLearned))]),
  ];
  return { type: NEW_LINK, flags: CREATE, body: made(name, 'bridge', settings), what: `make the bridge ${name}` };
}

/**
 * Makes a pair of interfaces: one here, and its peer in the other namespace of the request. Both are down: the kernel brings none of them up
 * before it has the other. It refuses a name that is taken.
 */
export function pairLink(name: string, peer: { name: string; mac: string }): Message {
  const other = Buffer.concat([
    link(0),
    attribute(IFLA_IFNAME, text(peer.name)),
    attribute(IFLA_ADDRESS, mac(peer.mac)),
    attribute(IFLA_NET_NS_FD, u32(OTHER_NAMESPACE)),
  ]);
  return {
    type: NEW_LINK,
    flags: CREATE | EXCLUSIVE,
    body: made(name, 'veth', [attribute(VETH_INFO_PEER, other)]),
    what: `make ${name} and ${peer.name}`,
  };
}

function made(name: string, kind: string, data: readonly Buffer[]): Buffer {
  const info = nest(IFLA_LINKINFO, attribute(INFO_KIND, Buffer.from(kind)), nest(INFO_DATA, ...data));
  return Buffer.concat([link(0), attribute(IFLA_IFNAME, text(name)), info]);
}
