/**
 * The configuration of a virtual container host: vic-machine writes it, it is stored with the endpoint VM as `guestinfo.caisson.vch`, and
 * the endpoint reads it.
 */
import { z } from 'zod';

/** The network of containers that do not name one. */
export const DEFAULT_NETWORK = 'bridge';

export const DEFAULT_EGRESS = 'relay';

/** Each takes two listening sockets on every network. */
export const MOST_HOST_PORTS = 64;

const moRef = z.object({ type: z.string(), value: z.string() });

const listen = z.object({
  host: z.string(),
  port: z.number().int().min(0).max(65535),
  /** PEM. Without it the endpoint speaks plain HTTP. */
  tls: z
    .object({
      cert: z.string(),
      key: z.string(),
      /** Client certificates must be signed by this CA; without it any client may connect (`--no-tlsverify`). */
      clientCa: z.string().optional(),
    })
    .optional(),
});

/** What cards name a port group of a distributed switch by. */
const distributedPort = z.object({ portgroupKey: z.string(), switchUuid: z.string() });

/** A network that containers can join. */
const network = z.object({
  /** Unique in the VCH. Docker's default network is called `bridge` and comes first. */
  name: z.string().min(1),
  /** The port group's name in the inventory, at the time when it was chosen. */
  portGroup: z.string(),
  /** Of a port group of a vCenter's distributed switch. */
  distributed: distributedPort.optional(),
  /** CIDR; the first address is the gateway's. */
  subnet: z.string(),
});

/** What leaves a container's network: `relay` dials from the machine for it, with `none` nothing does. */
const egress = z.enum(['relay', 'none']);

/** One entry of Docker's `default-address-pools`: networks of `/size` are cut from `base`. */
const addressPool = z.object({
  /** CIDR, IPv4 or IPv6. */
  base: z.string(),
  size: z.number().int().min(1).max(128),
});

const vlan = z.number().int().min(1).max(4094);

/** How far the containers of a container network are trusted: what may come in (docs/networks.md). */
export const TRUST_LEVELS = ['closed', 'outbound', 'peers', 'published', 'open'] as const;

/** A vSphere network that containers can join with a card of their own. */
const containerNetwork = z.object({
  /** Its name in Docker; unique in the VCH. */
  name: z.string().min(1),
  /** An existing port group, which is not a bridge network of a VCH. */
  portGroup: z.string().min(1),
  /** As above. */
  distributed: distributedPort.optional(),
  /** CIDR: the gateway's address, with the length of the subnet's prefix. Undefined: containers get their addresses by DHCP. */
  gateway: z.string().optional(),
  /** The addresses that containers may get, each CIDR or `first-last`; empty: all of the gateway's subnet. */
  ipRanges: z.array(z.string()),
  /** Name servers; empty: those that DHCP names, or the machine's. */
  dns: z.array(z.string()),
  trust: z.enum(TRUST_LEVELS),
});

/** A directory of an NFS server, for volumes. */
const nfsStore = z.object({
  label: z.string().min(1),
  /** A name or an address; an IPv6 address without brackets. */
  host: z.string().min(1),
  /** Undefined: 2049. */
  port: z.number().int().min(1).max(65535).optional(),
  /** Absolute, as the server shows it to NFS 4 clients. */
  path: z.string().startsWith('/'),
  /** Who makes, owns and removes the directories of volumes. */
  uid: z.number().int().min(0),
  gid: z.number().int().min(0),
});

const vchConfig = z.object({
  version: z.literal(1),
  /** 32 hex digits; part of datastore paths and of every container VM's `caisson.vch`. */
  id: z.string().regex(/^[0-9a-f]{32}$/),
  name: z.string(),
  target: z.object({
    /** `https://host:port/sdk` */
    url: z.string(),
    user: z.string(),
    password: z.string(),
    /** SHA-1 of the certificate as vSphere prints it, `AB:CD:…`. */
    thumbprint: z.string().optional(),
  }),
  resourcePool: moRef,
  folder: moRef,
  datacenter: z.string(),
  /** Where images and containers are kept. */
  imageStore: z.object({ datastore: z.string(), path: z.string() }),
  /** Where volumes are kept, by label. Undefined, or without the label `default`: those of that label are beside the images. */
  volumeStores: z
    .array(z.object({ label: z.string().min(1), datastore: z.string(), path: z.string() }))
    .refine((all) => new Set(all.map(({ label }) => label)).size === all.length, 'two volume stores share a label')
    .optional(),
  /** Volume stores on NFS servers. One with the label `default` is used for volumes that ask for no store. */
  nfsStores: z.array(nfsStore).optional(),
  /** In the order of the endpoint VM's network cards. Each has its own port group and subnet. */
  networks: z.tuple([network], network).refine(distinct, 'two networks share a name, a port group or a subnet'),
  containerNetworks: z.array(containerNetwork).optional(),
  /** Port groups of `networks` that were made with the host, and go with it; undefined: an earlier version did not note it, or none. */
  createdPortGroups: z.array(z.string()).optional(),
  listen: z.array(listen),
  registry: z.object({
    mirrors: z.array(z.string()),
    insecure: z.array(z.string()),
    /** The only registries that may be used; undefined: all. */
    allowed: z.array(z.string()).optional(),
    /** PEM certificates trusted in addition to the system's. */
    certificateAuthorities: z.array(z.string()),
    /** How a push compresses layers; undefined: gzip. */
    compression: z.enum(['gzip', 'zstd']).optional(),
    /** Layers' blobs are kept as they are pulled, so that pushes send the same ones. */
    keepBlobs: z.boolean().optional(),
  }),
  container: z.object({
    cpus: z.number().int().positive(),
    memoryMiB: z.number().int().positive(),
    baseImageSizeGiB: z.number().int().positive(),
  }),
  /** What the log driver `syslog` may use on the endpoint's machine; undefined: only /dev/log. */
  syslog: z
    .object({
      /** Paths of unix sockets. */
      sockets: z.array(z.string()),
      /** Certificates and keys (PEM), by path. */
      files: z.record(z.string(), z.string()),
    })
    .optional(),
  /** Where containers' ports may be published; undefined: everywhere. */
  publish: z
    .object({
      /** Addresses of the machine. A port published on no particular address is published on all of these. Undefined: any address. */
      addresses: z.array(z.string()).optional(),
      lowestPort: z.number().int().min(1).max(65535),
    })
    .optional(),
  /** The way out of networks that do not say themselves; undefined: {@link DEFAULT_EGRESS}. */
  egress: egress.optional(),
  /**
   * How many bits a second are carried in each direction for each container whose network says nothing of it; undefined: as many as it goes.
   */
  egressRate: z.number().int().positive().optional(),
  /** TCP and UDP ports of the machine that containers reach by the gateway's address (`host-gateway`); undefined: none. */
  hostPorts: z.array(z.number().int().min(1).max(65535)).max(MOST_HOST_PORTS).optional(),
  /** Where new networks get their subnets from; undefined: as in Docker. */
  addressPools: z.array(addressPool).min(1).optional(),
  /** On a vCenter: whether the endpoint may make port groups for new networks. The embedded host always makes them. */
  allowNetworkCreate: z.boolean().optional(),
  /** With that: each new network gets a VLAN of these; undefined: they are in the VLAN of the default network's port group. */
  networkVlans: z.object({ first: vlan, last: vlan }).optional(),
  /** For pulls, where they go before the environment's, and for the environment of containers. */
  proxies: z
    .object({ http: z.string().optional(), https: z.string().optional(), no: z.string().optional() })
    .optional(),
  storage: z
    .object({
      /** Space to keep free on the filesystems that are written to: `5%`, `2GiB`. Default: 5 %, at most 2 GiB. */
      reserve: z.string().optional(),
      /** What all images together may take. */
      imageQuotaGiB: z.number().positive().optional(),
      /** What images, containers and volumes together may take: `20GiB`. */
      quota: z.string().optional(),
    })
    .optional(),
  /** Directory for channel sockets on the machine that runs the VMs (embedded host). */
  channelDir: z.string(),
});

/** Also reads configurations of earlier versions, which had a single network, `bridge`, without a name. */
export const vchConfigSchema = z.preprocess((raw) => {
  if (typeof raw !== 'object' || raw === null || !('bridge' in raw)) return raw;
  const { bridge, ...rest } = raw;
  return { ...rest, networks: [{ name: DEFAULT_NETWORK, ...(bridge as object) }] };
}, vchConfig);

function distinct(networks: z.infer<typeof network>[]): boolean {
  return (['name', 'portGroup', 'subnet'] as const).every(
    (field) => new Set(networks.map((one) => one[field])).size === networks.length,
  );
}

export type VchConfig = z.infer<typeof vchConfig>;
export type VolumeStoreConfig = NonNullable<VchConfig['volumeStores']>[number];
export type NetworkConfig = z.infer<typeof network>;
export type NfsStoreConfig = z.infer<typeof nfsStore>;
export type ContainerNetworkConfig = z.infer<typeof containerNetwork>;
export type SyslogGrants = NonNullable<VchConfig['syslog']>;
export type Egress = z.infer<typeof egress>;
export type AddressPoolConfig = z.infer<typeof addressPool>;
export type Proxies = NonNullable<VchConfig['proxies']>;
export type PublishPolicy = NonNullable<VchConfig['publish']>;
export type ListenConfig = z.infer<typeof listen>;

export { madePortGroups } from './network/made-port-groups.js';
export { parseQuota, parseReserve } from './storage/storage-reserve.js';
