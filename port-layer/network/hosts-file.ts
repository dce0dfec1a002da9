/** A container's /etc/hosts as text, and its own names. Pure. */
import { mainEndpoint } from './endpoints.js';
import { HOST_GATEWAY, type Links, type NetworkEndpoint } from './types.js';

/** As Docker writes them; a container without a network has them too. */
const FIXED_LINES = [
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::\tip6-localnet',
  'ff00::\tip6-mcastprefix',
  'ff02::1\tip6-allnodes',
  'ff02::2\tip6-allrouters',
];

/** What a hosts file is made from. */
export interface HostsFile {
  hostname: string;
  /** '' if there is none. */
  domainname: string;
  /** In the order of the container's networks. */
  endpoints: readonly NetworkEndpoint[];
  /** `--add-host`; an address may be {@link HOST_GATEWAY}. */
  extraHosts: readonly { host: string; address: string }[];
  links: Links['hosts'];
}

/** The file's content. A `host-gateway` entry is left out when the container has no gateway. */
export function hostsFile({ hostname, domainname, endpoints, extraHosts, links }: HostsFile): string {
  const gateway = mainEndpoint(endpoints)?.gateway ?? '';
  const names = ownNames(hostname, domainname);
  const lines = [
    ...FIXED_LINES,
    ...extraHosts
      .map(({ host, address }) => ({ host, address: address === HOST_GATEWAY ? gateway : address }))
      .filter(({ address }) => address !== '')
      .map(({ host, address }) => `${address}\t${host}`),
    ...links.map((link) => `${link.address}\t${link.names.join(' ')}`),
    ...endpoints
      .flatMap(({ address, address6 }) => [address, address6])
      .filter((address) => address !== '')
      .map((address) => `${address}\t${names}`),
  ];
  return `${lines.join('\n')}\n`;
}

/** The full name, followed by its first label if that is different. */
function ownNames(hostname: string, domainname: string): string {
  const full = domainname === '' ? hostname : `${hostname}.${domainname}`;
  const short = full.split('.', 1)[0]!;
  return short === full ? full : `${full} ${short}`;
}
