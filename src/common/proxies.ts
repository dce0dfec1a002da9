/** HTTP proxies, chosen as Go's net/http does (golang.org/x/net/http/httpproxy), whose rules Docker follows. Pure. */
import { BlockList, isIP } from 'node:net';

/** URLs of proxies, and a list of hosts that are reached without them. */
export interface ProxySettings {
  http?: string | undefined;
  https?: string | undefined;
  no?: string | undefined;
}

/** What is configured goes before the environment, where names in capitals go before others. */
export function proxySettings(
  configured: ProxySettings = {},
  environment: NodeJS.ProcessEnv = process.env,
): ProxySettings {
  const said = (name: string): string | undefined =>
    environment[name.toUpperCase()] || environment[name.toLowerCase()] || undefined;
  return {
    http: configured.http ?? said('http_proxy'),
    https: configured.https ?? said('https_proxy'),
    no: configured.no ?? said('no_proxy'),
  };
}

/** The proxy by which a URL is reached; null: none. */
export function proxyFor(settings: ProxySettings, url: URL): URL | null {
  const text = url.protocol === 'https:' ? settings.https : settings.http;
  if (text === undefined || text === '') return null;
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  if (isExcepted(settings.no ?? '', host, port)) return null;
  const proxy = text.includes('://') ? text : `http://${text}`;
  return URL.canParse(proxy) ? new URL(proxy) : null;
}

const LOOPBACK = blockList(['127.0.0.0/8', '::1/128']);

function isExcepted(list: string, host: string, port: string): boolean {
  if (host === 'localhost' || (isIP(host) !== 0 && isInside(LOOPBACK, host))) return true;
  return list
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .some((entry) => entry !== '' && matches(entry, host, port));
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true;
  if (entry.includes('/')) return isIP(host) !== 0 && isInside(blockList([entry]), host);
  const [, name = entry, only] = /^(.*?):(\d+)$/.exec(isIP(entry) === 6 ? '' : entry) ?? [];
  if (only !== undefined && only !== port) return false;
  const plain = name.replace(/^\[|\]$/g, '');
  if (isIP(plain) !== 0) return plain === host;
  const domain = plain.replace(/^\*/, '');
  return domain.startsWith('.') ? host.endsWith(domain) : host === domain || host.endsWith(`.${domain}`);
}

function isInside(list: BlockList, address: string): boolean {
  return list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

/** Leaves out what is not a network. */
function blockList(networks: string[]): BlockList {
  const list = new BlockList();
  for (const text of networks) {
    const [address = '', prefix = ''] = text.split('/');
    const family = isIP(address);
    if (family === 0 || !/^\d{1,3}$/.test(prefix) || Number(prefix) > (family === 6 ? 128 : 32)) continue;
    list.addSubnet(address, Number(prefix), family === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}

/** As `docker info` shows a proxy: without user and password. */
export function maskedProxy(text: string | undefined): string {
  if (text === undefined || !URL.canParse(text)) return text ?? '';
  const url = new URL(text);
  if (url.username === '' && url.password === '') return text;
  return text.replace(/\/\/[^/]*@/, '//xxxxx:xxxxx@');
}

/**
 * Variables for a container's environment, as the docker CLI takes them from its `proxies`: each in capitals and in small letters, unless
 * the container sets either.
 */
export function proxyVariables(settings: ProxySettings, own: readonly string[]): string[] {
  const set = new Set(own.map((line) => line.split('=')[0]?.toLowerCase()));
  const values: [name: string, value: string | undefined][] = [
    ['HTTP_PROXY', settings.http],
    ['HTTPS_PROXY', settings.https],
    ['NO_PROXY', settings.no],
  ];
  return values.flatMap(([name, value]) =>
    value === undefined || value === '' || set.has(name.toLowerCase())
      ? []
      : [`${name}=${value}`, `${name.toLowerCase()}=${value}`],
  );
}
