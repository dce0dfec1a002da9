/** Networks, and a container's place on them. */
import type { CardGuard } from './card-guard.js';
import type { NetworkRequest, NetworkSpec, PoolUse, TrustLevel } from './network-spec.js';

/** Stands for the address of the gateway of the container's network, which is the endpoint's. */
export const HOST_GATEWAY = 'host-gateway';

/** Other containers as this one knows them: lines for its hosts file, and variables, unless its own environment sets them. */
export interface Links {
  hosts: { address: string; names: string[] }[];
  env: string[];
}

/** A container's wish to be on a network: part of its spec. */
export interface NetworkWish {
  /** The network's name; its id if it was asked for by id and did not exist. */
  network: string;
  /** Known from its first start on, as in Docker: a network that is made again under the same name is another one. */
  networkId?: string;
  aliases: string[];
  /** `xx:xx:xx:xx:xx:xx`; undefined: the host makes one. */
  mac?: string;
  /** Addresses that were asked for. */
  ipv4?: string;
  ipv6?: string;
  /** The way out is by the network with the highest; 0 by default. */
  gwPriority?: number;
  /** `container:alias`: other containers as this one knows them on this network. */
  links?: string[];
  driverOpts?: Record<string, string>;
  /** The interface's name in the container; undefined: `eth0`, `eth1`, … */
  interfaceName?: string;
  /** Of the interface; `IFNAME` in a key stands for its name. */
  sysctls?: Record<string, string>;
  /** Opaque to the port layer; kept with the wish. */
  annotations?: Record<string, string>;
}

/** A container's place on a network while it runs. Records of earlier versions lack the fields about IPv6; see `endpoints.ts`. */
export interface NetworkEndpoint {
  network: string;
  networkId: string;
  endpointId: string;
  mac: string;
  /** IPv4; empty strings and 0 while the container does not run, and on a network without IPv4. */
  address: string;
  prefixLength: number;
  /** '' if the network has none. */
  gateway: string;
  /** IPv6; the same. */
  address6: string;
  prefixLength6: number;
  gateway6: string;
  gwPriority: number;
  /** 0: the default. */
  mtu: number;
  /** As {@link NetworkWish}. */
  interfaceName?: string;
  sysctls?: Record<string, string>;
  /** The network has no way out. */
  internal: boolean;
  /** Where names on it are asked for: the gateway's addresses; empty for the default network, whose containers ask the machine's servers. */
  nameServers: string[];
  /** These know the names of the containers on it. */
  named?: boolean;
  aliases: string[];
  /** Of a container network (`kind: 'external'`): how far it is trusted, the addresses of its peers, and whether it gives addresses by DHCP. */
  external?: {
    trust: TrustLevel;
    peers: string[];
    dhcp: boolean;
    /** Only the container's machine checks what it sends: the host is not the switch. */
    alone?: boolean;
  };
  /** Of any other network, where the host is not the switch. */
  guard?: CardGuard;
}

/** A network and who is on it now. */
export interface NetworkInfo extends Omit<NetworkSpec, 'createdAt'> {
  driver: string;
  createdAt: Date;
  /** In the configuration: nobody can remove it. */
  predefined: boolean;
  /** The gateway's interface on it (`eth0`, `eth1`, …): the endpoint VM's card. '' if it has none. */
  interface: string;
  /** Its first IPv4 subnet and the gateway there; '' without IPv4. */
  subnet: string;
  gateway: string;
  /** Running containers on it. */
  endpoints: (NetworkEndpoint & { containerId: string; containerName: string })[];
}

/** What happened to a network, whoever caused it. */
export type NetworkChange =
  /** `gone`: as it was. */
  | { type: 'made' | 'gone'; network: NetworkInfo }
  /** A container that runs was given a place on it, or lost it. Starts and ends of containers are not told here. */
  | { type: 'connected' | 'disconnected'; network: NetworkInfo; containerId: string };

/** What a container is to have on a network that it is connected to. */
export type ConnectOptions = Omit<NetworkWish, 'network' | 'networkId'>;

/** Networks are named by name, id, or the beginning of an id that only one has. */
export interface NetworkService {
  /**
   * Whether the host is this engine's own: the containers' switch, and the gateway of their networks with names, a way out and policies.
   * Elsewhere packet filters in the containers' machines keep networks apart, and the rest is not there.
   */
  readonly ownHost: boolean;
  list(): NetworkInfo[];
  /** @throws notFound; invalid when several ids begin like that */
  resolve(reference: string): NetworkInfo;
  /** @throws conflict (the name is taken), forbidden (subnets overlap), invalid */
  create(request: NetworkRequest): Promise<NetworkInfo>;
  /** @throws forbidden (predefined, or running containers are on it), notFound */
  remove(reference: string): Promise<void>;
  /**
   * Puts a container on a further network; one that runs gets a network card and an address at once.
   * @throws forbidden (it is on it already; an address that is not the network's), conflict (it is paused), notFound
   */
  connect(container: string, network: string, options: ConnectOptions): Promise<void>;
  /** Takes a container off a network. @throws forbidden (it is not on it), conflict (it is paused), notFound */
  disconnect(container: string, network: string): Promise<void>;
  /** How much of each of a network's subnets is in use. */
  usage(reference: string): PoolUse[];
  /** Network changes from now on, in order. Returns the unsubscriber. */
  onChange(listener: (change: NetworkChange) => void): () => void;
}
