/** The options of `vic-machine create`, checked and turned into what a virtual container host needs. */
import { isIPv4, isIPv6 } from 'node:net';
import { Address4 } from 'ip-address';
import { invalid } from '../common/errors.js';
import type { RegistryOptions } from './registry-options.js';
import type { SizeOptions } from './size-options.js';
import type { OpsUser } from './vch-login.js';

/** As commander returns them. */
export interface CreateOptions extends RegistryOptions, SizeOptions {
  name: string;
  imageStore: string;
  computeResource?: string;
  bridgeNetwork: string;
  bridgeNetworkRange: string;
  dockerAddress?: string;
  tls: boolean;
  tlsverify: boolean;
  tlsCname?: string;
  tlsCertPath?: string;
  organization: string;
  baseImageSize: number;
  channelDir?: string;
  opsUser?: string;
  opsPassword?: string;
  opsGrantPerms?: boolean;
  timeout: number;
}

/**
 * The user given for the endpoint; undefined if none was.
 * @throws invalid for a user without a password or a password without a user
 */
export function parseOpsUser(
  options: Pick<CreateOptions, 'opsUser' | 'opsPassword' | 'opsGrantPerms'>,
  environment: NodeJS.ProcessEnv = process.env,
): OpsUser | undefined {
  const { opsUser: user, opsGrantPerms: grant = false } = options;
  const password = options.opsPassword ?? environment.VIC_MACHINE_OPS_PASSWORD;
  if (user !== undefined && password !== undefined) return { user, password, grant };
  if (user !== undefined)
    throw invalid('--ops-user needs a password: --ops-password, or VIC_MACHINE_OPS_PASSWORD in the environment');
  if (options.opsPassword !== undefined || grant)
    throw invalid(`${grant ? '--ops-grant-perms' : '--ops-password'} goes with --ops-user`);
  return undefined;
}

export const MAX_NAME_LENGTH = 31;

/** @throws invalid */
export function checkName(name: string): string {
  if (name.length === 0 || name.length > MAX_NAME_LENGTH) {
    throw invalid(
      `Display name ${name} exceeds the permitted ${MAX_NAME_LENGTH} characters limit. Please use a shorter -name parameter`,
    );
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)) {
    throw invalid(
      `--name '${name}' may have letters, digits, '_', '.' and '-' only, and begins with a letter or digit`,
    );
  }
  return name;
}

/** `[ds://]DATASTORE[/PATH]`. @throws invalid */
export function parseImageStore(text: string): { datastore: string; path: string } {
  const match = /^(?:ds:\/\/)?([^/]+)(?:\/(.*))?$/.exec(text);
  if (match === null) throw invalid(`--image-store '${text}' is not of the form datastore[/path]`);
  const path = (match[2] ?? '').replace(/\/+$/, '');
  if (path.split('/').includes('..')) throw invalid(`--image-store '${text}': the path may not contain '..'`);
  return { datastore: match[1]!, path };
}

/** The subnet of the bridge network: a /16 or smaller network of IPv4. @throws invalid */
export function parseBridgeRange(text: string): string {
  if (!Address4.isValid(text) || !text.includes('/'))
    throw invalid(`--bridge-network-range '${text}' is not an IPv4 network such as 172.16.0.0/16`);
  const address = new Address4(text);
  if (address.subnetMask < 8 || address.subnetMask > 29)
    throw invalid(`--bridge-network-range '${text}': the prefix must be /8 to /29`);
  return `${address.startAddress().address.split('/')[0]}/${address.subnetMask}`;
}

/** `HOST:PORT` where the Docker API listens. @throws invalid */
export function parseDockerAddress(text: string): { host: string; port: number } {
  const match = /^(?:tcp:\/\/)?(\[[0-9a-f:]+\]|[^:[\]]+):(\d{1,5})$/i.exec(text);
  const port = Number(match?.[2]);
  if (match === null || port > 65535) throw invalid(`--docker-address '${text}' is not of the form host:port`);
  return { host: match[1]!.replace(/^\[|\]$/g, ''), port };
}

/** True for an address that only users of this machine can reach. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase();
  if (name === 'localhost' || name.endsWith('.localhost')) return true;
  if (isIPv4(name)) return name.startsWith('127.');
  return (
    isIPv6(name) &&
    /^(?:::1|::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4})$/.test(new URL(`http://[${name}]`).hostname.slice(1, -1))
  );
}

/**
 * What plain TCP at this address means, as a warning for whoever asks for it.
 * @param insisted the caller insists on letting in anybody on the network
 * @throws invalid for an address that other machines can reach, unless `insisted`
 */
export function plainTcpWarning(address: { host: string; port: number }, insisted: boolean): string {
  const { host, port } = address;
  const where = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  if (isLoopback(host))
    return `Warning: the Docker API listens on ${where} without TLS: every user and program of this machine is root in all containers.`;
  if (insisted)
    return `Warning: the Docker API listens on ${where} without TLS: everybody who reaches that address is root in all containers.`;
  throw invalid(
    `--docker-address ${where}: other machines reach that address, and without TLS whoever does is root in all containers.\n` +
      '  vic-machine create --tls-cname <name> makes a virtual container host with TLS\n' +
      '  --docker-address 127.0.0.1:<port> is for users of this machine alone\n' +
      '  --insecure-tcp lets everybody in all the same',
  );
}

/** Which kind of TLS the options ask for. @throws invalid for contradictions */
export function tlsMode(options: Pick<CreateOptions, 'tls' | 'tlsverify' | 'tlsCname'>): 'none' | 'server' | 'mutual' {
  if (!options.tls) {
    if (options.tlsCname !== undefined) throw invalid('--no-tls and --tls-cname exclude each other');
    return 'none';
  }
  if (!options.tlsverify) return 'server';
  if (options.tlsCname === undefined) {
    throw invalid(
      'Common Name must be provided when generating certificates for client authentication:\n' +
        '  --tls-cname=<FQDN or address> to generate certificates for this host name\n' +
        '  --no-tlsverify to accept any client, over TLS\n' +
        '  --no-tls to speak plain HTTP (a trusted machine only)',
    );
  }
  return 'mutual';
}
