/** The names that containers look up at their gateways. The endpoint makes the table; the names server answers from it. */

/** What one container may be called on one network, and how it wants to be answered there. */
export interface NamesOwner {
  /** Its addresses on this network, IPv4 and IPv6. */
  addresses: string[];
  /** Its name, its short id, its aliases. */
  names: string[];
  /** Names that only this container knows. */
  links: [alias: string, addresses: string[]][];
  /** Servers that it asked for instead of the machine's. */
  dns: string[];
  search: string[];
}

export interface NamesTable {
  networks: {
    /** The gateway's card, `eth0`, `eth1`, … */
    interface: string;
    /** The gateway's addresses there; '' for none. */
    gateway4: string;
    gateway6: string;
    own: NamesOwner[];
  }[];
  /** Where to ask for all other names, in order: `address:port` on the loopback of the gateway's namespace. */
  servers: string[];
}
