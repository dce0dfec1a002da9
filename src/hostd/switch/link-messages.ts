/**
 * Interfaces, ports of bridges and neighbours, as messages to the kernel (`netlink.ts`): what `ip link`, `bridge fdb` and
 * `ip neigh` send.
 *
 * Facts: rtnetlink(7), <linux/rtnetlink.h>, <linux/if_link.h>, <linux/neighbour.h>.
 */
import { isIP } from 'node:net';
import { Address4, Address6 } from 'ip-address';
import { attribute, CREATE, type Message, nest, REPLACE, text, u32 } from './netlink.js';

export const NEW_LINK = 16;
const GET_LINK = 18;
const SET_LINK = 19;
const NEW_NEIGHBOUR = 28;
const DELETE_NEIGHBOUR = 29;

const IFF_UP = 1;
export const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_MASTER = 10;
export const IFLA_LINKINFO = 18;
const IFLA_AF_SPEC = 26;
const INFO_SLAVE_KIND = 4;
const INFO_SLAVE_DATA = 5;
const BRPORT_LEARNING = 8;
const BRPORT_UNICAST_FLOOD = 9;
const BRPORT_ISOLATED = 33;
const BRPORT_LOCKED = 39;
const INET6_ADDR_GEN_MODE = 8;
const ADDR_GEN_NONE = 1;

const AF_UNSPEC = 0;
const AF_INET = 2;
const AF_BRIDGE = 7;
const AF_INET6 = 10;
const NDA_DST = 1;
const NDA_LLADDR = 2;
const NTF_MASTER = 4;
/** The entry stays where it is when another port sends from its address. */
const NTF_STICKY = 0x40;
/** The two states of a bridge's static entry, as the `bridge` command sets them. */
const STATIC = 0x40 | 0x02;
const PERMANENT = 0x80;

/** struct ifinfomsg */
export function link(index: number, flags = 0, change = 0): Buffer {
  const body = Buffer.alloc(16);
  body.writeInt32LE(index, 4);
  body.writeUInt32LE(flags, 8);
  body.writeUInt32LE(change, 12);
  return body;
}

/** struct ndmsg */
function neighbour(family: number, index: number, state: number, flags: number): Buffer {
  const body = Buffer.alloc(12);
  body.writeUInt8(family, 0);
  body.writeInt32LE(index, 4);
  body.writeUInt16LE(state, 8);
  body.writeUInt8(flags, 10);
  return body;
}

export const byte = (value: boolean | number): Buffer => Buffer.of(Number(value));
export const mac = (address: string): Buffer => Buffer.from(address.replaceAll(':', ''), 'hex');

/** Asks for an interface; {@link indexOf} finds its number in the answer. */
export function findLink(name: string): Message {
  const body = Buffer.concat([link(0), attribute(IFLA_IFNAME, text(name))]);
  return { type: GET_LINK, body, what: `find ${name}` };
}

/** The number of an interface. */
export function indexOf(answer: readonly Buffer[]): number {
  return answer[0]?.readInt32LE(4) ?? 0;
}

/** Renames an interface, which must be down. */
export function renameLink(index: number, name: string): Message {
  const body = Buffer.concat([link(index), attribute(IFLA_IFNAME, text(name))]);
  return { type: SET_LINK, body, what: `name ${name}` };
}

/** Plugs an interface into a bridge. */
export function joinBridge(index: number, bridge: number): Message {
  return {
    type: SET_LINK,
    body: Buffer.concat([link(index), attribute(IFLA_MASTER, u32(bridge))]),
    what: 'plug into the bridge',
  };
}

/** How a bridge treats a port. */
export interface PortTreatment {
  learning: boolean;
  flood: boolean;
  /** Nothing passes between two isolated ports. */
  isolated?: boolean;
  /** Undefined: not set, because the kernel does not support it. */
  locked?: boolean | undefined;
}

/** Sets how a bridge treats a port. */
export function treatPort(index: number, { learning, flood, isolated = false, locked }: PortTreatment): Message {
  const info = nest(
    IFLA_LINKINFO,
    attribute(INFO_SLAVE_KIND, Buffer.from('bridge')),
    nest(
      INFO_SLAVE_DATA,
      attribute(BRPORT_LEARNING, byte(learning)),
      attribute(BRPORT_UNICAST_FLOOD, byte(flood)),
      attribute(BRPORT_ISOLATED, byte(isolated)),
      ...(locked === undefined ? [] : [attribute(BRPORT_LOCKED, byte(locked))]),
    ),
  );
  return { type: NEW_LINK, body: Buffer.concat([link(index), info]), what: 'set the port of the bridge' };
}

/** Sets how large packets may be. */
export function setMtu(index: number, mtu: number): Message {
  return {
    type: SET_LINK,
    body: Buffer.concat([link(index), attribute(IFLA_MTU, u32(mtu))]),
    what: `let packets have ${mtu} bytes`,
  };
}

/** Switches an interface on. @param which its number or its name */
export function bringUp(which: number | string): Message {
  const body =
    typeof which === 'number'
      ? link(which, IFF_UP, IFF_UP)
      : Buffer.concat([link(0, IFF_UP, IFF_UP), attribute(IFLA_IFNAME, text(which))]);
  return { type: SET_LINK, body, what: typeof which === 'number' ? 'bring up' : `bring up ${which}` };
}

/** Keeps the kernel from giving an interface an IPv6 address. It fails on a kernel without IPv6, which gives none anyway. */
export function withoutAddress(name: string): Message {
  const none = attribute(INET6_ADDR_GEN_MODE, byte(ADDR_GEN_NONE));
  const body = Buffer.concat([link(0), attribute(IFLA_IFNAME, text(name)), nest(IFLA_AF_SPEC, nest(AF_INET6, none))]);
  return { type: SET_LINK, body, what: `keep ${name} from having addresses`, soft: true };
}

/** Tells a port's bridge permanently which address is behind the port. */
export function staticEntry(index: number, address: string): Message {
  return {
    type: NEW_NEIGHBOUR,
    flags: CREATE | REPLACE,
    body: Buffer.concat([
      neighbour(AF_BRIDGE, index, STATIC, NTF_MASTER | NTF_STICKY),
      attribute(NDA_LLADDR, mac(address)),
    ]),
    what: `make ${address} known to the bridge`,
  };
}

/** Makes a permanent neighbour entry for an address, or removes it (null). */
export function neighbourEntry(index: number, address: string, owner: string | null): Message {
  const six = isIP(address) === 6;
  const body = Buffer.concat([
    neighbour(six ? AF_INET6 : isIP(address) === 4 ? AF_INET : AF_UNSPEC, index, owner === null ? 0 : PERMANENT, 0),
    attribute(NDA_DST, addressBytes(address)),
    ...(owner === null ? [] : [attribute(NDA_LLADDR, mac(owner))]),
  ]);
  const what = `neighbour ${address}`;
  return owner === null
    ? { type: DELETE_NEIGHBOUR, body, what, soft: true }
    : { type: NEW_NEIGHBOUR, flags: CREATE | REPLACE, body, what, soft: true };
}

/** An address as it is in a packet. */
export function addressBytes(address: string): Buffer {
  return Buffer.from(
    isIP(address) === 4 ? new Address4(address).toArray() : new Address6(address).toUnsignedByteArray(),
  );
}
