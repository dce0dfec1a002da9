/**
 * The configuration of a virtual container host: vic-machine writes it, it is stored with the endpoint VM as `guestinfo.caisson.vch`, and
 * the endpoint reads it.
 */
import { z } from 'zod';

/** The network of containers that do not name one. */
export const DEFAULT_NETWORK = 'bridge';

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

/** A network that containers can join. */
const network = z.object({
  /** Unique in the VCH. Docker's default network is called `bridge` and comes first. */
  name: z.string().min(1),
  portGroup: z.string(),
  /** CIDR; the first address is the gateway's. */
  subnet: z.string(),
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
  /** In the order of the endpoint VM's network cards. Each has its own port group and subnet. */
  networks: z.tuple([network], network).refine(distinct, 'two networks share a name, a port group or a subnet'),
  listen: z.array(listen),
  registry: z.object({
    mirrors: z.array(z.string()),
    insecure: z.array(z.string()),
    /** PEM certificates trusted in addition to the system's. */
    certificateAuthorities: z.array(z.string()),
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
  storage: z
    .object({
      /** Space to keep free on the filesystems that are written to: `5%`, `2GiB`. Default: 5 %, at most 2 GiB. */
      reserve: z.string().optional(),
      /** What all images together may take. */
      imageQuotaGiB: z.number().positive().optional(),
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
export type NetworkConfig = z.infer<typeof network>;
export type SyslogGrants = NonNullable<VchConfig['syslog']>;
export type PublishPolicy = NonNullable<VchConfig['publish']>;
export type ListenConfig = z.infer<typeof listen>;

export { parseReserve } from './storage/storage-reserve.js';
