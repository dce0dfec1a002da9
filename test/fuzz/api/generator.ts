/** Requests that no client would send: seeded, so that a failed case can be repeated by its number. */

import { randomOf } from '../../support/random.js';

/** A case. */
export interface FuzzCase {
  number: number;
  method: string;
  path: string;
  headers: Record<string, string>;
  body: Buffer | undefined;
}

/** A route as the router stores it. */
export interface FuzzRoute {
  method: string;
  path: string;
}

/** Containers of the engine under test. */
export interface FuzzTargets {
  ids: string[];
}

type Pick = <T>(list: readonly T[]) => T;

const TEXTS = [
  '',
  ' ',
  '0',
  '1',
  '-1',
  'true',
  'false',
  'null',
  '{}',
  '[]',
  '"',
  "'",
  '\\',
  '/',
  '//',
  '..',
  '../../etc/passwd',
  '.',
  '%',
  '%00',
  '\u0000',
  '\n',
  '\r\n',
  'x',
  'nosuch',
  'UPPER/case',
  'sha256:00',
  `sha256:${'f'.repeat(64)}`,
  'a:b:c@d',
  '9'.repeat(30),
  '1e309',
  'NaN',
  '-0',
  '0x10',
  '99999999999999999999',
  '1.5',
  'ünïcødé',
  '🙂',
  '\u202e',
  'a'.repeat(300),
  'b'.repeat(5000),
  'SIGNOSUCH',
  'KILL',
  '2147483648',
  '4294967296',
  '-9223372036854775809',
  '1h',
  '10y',
  '2026-13-45T00:00:00Z',
  '*',
  '(',
  '[',
  '((((((((',
  '(a+)+$',
  '$(id)',
  ';id',
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
] as const;

const FILTERS = [
  '{"label":["a"]}',
  '{"label":{"a":true}}',
  '{"label":{"a":"b"}}',
  '{"label":[1]}',
  '{"label":[[]]}',
  '{"status":["x"]}',
  '{"until":["x"]}',
  '{"name":["(("]}',
  '{"name":["(a+)+$"]}',
  '{"id":[null]}',
  '{"__proto__":["x"]}',
  '{"constructor":["x"]}',
  '{"ancestor":["UPPER"]}',
  '{"before":["nosuch"]}',
  '{"since":["nosuch"]}',
  '{"publish":["1-99999"]}',
  '{"expose":["a:b"]}',
  '{"exited":["9e9"]}',
  '{"health":["x"]}',
  '{"is-task":["x","y"]}',
  '{',
  '[',
  '12',
  '"x"',
  'null',
  '{"a":',
  '{"dangling":["x"]}',
  '{"dangling":["1"],"driver":["local"]}',
  '{"volume":["x"]}',
  '{"all":["x"]}',
  '{"reference":["((("]}',
  `${'['.repeat(2000)}`,
  `{"label":${'['.repeat(2000)}${']'.repeat(2000)}}`,
  `{"label":[${'"x",'.repeat(1000)}"x"]}`,
] as const;

const QUERIES = [
  'all',
  'limit',
  'size',
  'filters',
  'since',
  'until',
  'tail',
  'stdout',
  'stderr',
  'follow',
  'timestamps',
  'details',
  'stream',
  'logs',
  'stdin',
  'detachKeys',
  'signal',
  't',
  'condition',
  'v',
  'force',
  'link',
  'name',
  'h',
  'w',
  'ps_args',
  'one-shot',
  'path',
  'noOverwriteDirNonDir',
  'copyUIDGID',
  'platform',
  'repo',
  'tag',
  'author',
  'comment',
  'changes',
  'pause',
  'container',
  'fromSrc',
  'digests',
  'shared-size',
  'type',
  'noprune',
  'checkpoint',
  'checkpoint-dir',
  'term',
  'names',
] as const;

const FIELDS = [
  'Hostname',
  'Domainname',
  'User',
  'AttachStdin',
  'ExposedPorts',
  'Tty',
  'OpenStdin',
  'StdinOnce',
  'Env',
  'Cmd',
  'Entrypoint',
  'Image',
  'Volumes',
  'WorkingDir',
  'NetworkDisabled',
  'MacAddress',
  'Labels',
  'StopSignal',
  'StopTimeout',
  'Shell',
  'Healthcheck',
  'HostConfig',
  'NetworkingConfig',
  'DetachKeys',
  'Privileged',
  'ConsoleSize',
  'Detach',
  'Binds',
  'LogConfig',
  'NetworkMode',
  'PortBindings',
  'RestartPolicy',
  'AutoRemove',
  'CapAdd',
  'CapDrop',
  'Dns',
  'DnsOptions',
  'DnsSearch',
  'ExtraHosts',
  'GroupAdd',
  'IpcMode',
  'Links',
  'OomScoreAdj',
  'PidMode',
  'PublishAllPorts',
  'ReadonlyRootfs',
  'SecurityOpt',
  'StorageOpt',
  'Tmpfs',
  'UTSMode',
  'ShmSize',
  'Sysctls',
  'Runtime',
  'Isolation',
  'CpuShares',
  'Memory',
  'NanoCpus',
  'CpusetCpus',
  'CpusetMems',
  'Devices',
  'DeviceRequests',
  'MemorySwap',
  'MemoryReservation',
  'MemorySwappiness',
  'OomKillDisable',
  'PidsLimit',
  'Ulimits',
  'Init',
  'Mounts',
  'MaskedPaths',
  'Annotations',
  'BlkioWeight',
  'CpuPeriod',
  'CpuQuota',
  'Test',
  'Interval',
  'Timeout',
  'Retries',
  'Name',
  'MaximumRetryCount',
  'Type',
  'Config',
  'HostIp',
  'HostPort',
  'Soft',
  'Hard',
  'EndpointsConfig',
  'Aliases',
  'username',
  'password',
  'serveraddress',
  '__proto__',
  'constructor',
  'Driver',
  'DriverOpts',
  'VolumeDriver',
  'VolumesFrom',
  'VolumeOptions',
  'TmpfsOptions',
  'DriverConfig',
  'Options',
  'Subpath',
  'ClusterVolumeSpec',
  'Target',
  'Source',
  'ReadOnly',
] as const;

const CONTENT_TYPES = [
  'application/json',
  'application/json; charset=utf-8',
  'text/plain',
  'application/x-tar',
  '',
  'application/json;',
  'APPLICATION/JSON',
  'multipart/form-data; boundary=x',
  '\u00ff',
] as const;
const VERSIONS = [
  ...Array.from({ length: 20 }, () => '/v1.51'),
  ...['', '', '/v1.40', '/v1.40', '/v1.24', '/v1.24'],
  ...['/v1.23', '/v1.99', '/v0', '/v1..5', '/v9999999999999999999', '/v1.x', '/v', '//v1.51'],
];

/** The case with a given number: always the same for the same routes. */
export function fuzzCase(number: number, routes: readonly FuzzRoute[], targets: FuzzTargets): FuzzCase {
  const whole = randomOf(number * 2_654_435_761);
  const random = (): number => whole(2 ** 32) / 2 ** 32;
  const pick: Pick = (list) => list[Math.floor(random() * list.length)]!;
  const chance = (probability: number): boolean => random() < probability;
  const route = routes[number % routes.length]!;
  const method = chance(0.03) ? pick(['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'PATCH', 'OPTIONS']) : route.method;
  const target = (): string => (chance(0.65) && !changesMuch(method, route.path) ? pick(targets.ids) : pick(TEXTS));
  const path = route.path
    .replace(/[:*]\w+/g, () => encodeURIComponent(target()).replaceAll('%2F', chance(0.5) ? '/' : '%2F'))
    .replace(/^\/+/, '/');
  const query = chance(0.8) ? queryOf(random, pick, chance) : '';
  const body =
    method === 'GET' || method === 'HEAD'
      ? chance(0.05)
        ? bodyOf(random, pick, chance)
        : undefined
      : chance(0.9)
        ? bodyOf(random, pick, chance)
        : undefined;
  const headers: Record<string, string> = {};
  const type = chance(0.8) ? 'application/json' : pick(CONTENT_TYPES);
  if (body !== undefined && type !== '') headers['content-type'] = type;
  if (chance(0.05)) headers['x-registry-auth'] = pick(TEXTS).replaceAll(/[^\x20-\x7e]/g, '');
  if (chance(0.05)) Object.assign(headers, { connection: 'Upgrade', upgrade: pick(['tcp', 'websocket', 'h2c', 'x']) });
  // As clients send it: chunked, with Expect, with an absolute target, with a long head.
  if (body !== undefined && chance(0.15)) headers['transfer-encoding'] = 'chunked';
  if (body !== undefined && chance(0.02)) headers.expect = '100-continue';
  if (chance(0.02)) headers['x-registry-auth'] = 'A'.repeat(pick([20_000, 900_000]));
  const much = chance(0.02) ? `${query === '' ? '?' : '&'}Env=${'a'.repeat(30_000)}` : '';
  const origin = chance(0.03) ? pick(['http://d', 'http://other:1', 'https://d']) : '';
  return { number, method, path: `${origin}${pick(VERSIONS)}${path}${query}${much}`, headers, body };
}

/** Where a case that happens to be valid would change the targets, or start something that lasts. */
function changesMuch(method: string, path: string): boolean {
  return method === 'DELETE' || /\/(start|restart|commit|unpause|pause|update|rename)$/.test(path);
}

function queryOf(random: () => number, pick: Pick, chance: (probability: number) => boolean): string {
  const parts = Array.from({ length: 1 + Math.floor(random() * 4) }, () => {
    const name = chance(0.95) ? pick(QUERIES) : encodeURIComponent(pick(TEXTS)).slice(0, 200);
    const value = name === 'filters' ? pick(FILTERS) : name === 'fromImage' ? 'UPPER' : pick(TEXTS);
    const encoded = chance(0.95) ? encodeURIComponent(value) : value.replaceAll(/[^\x21-\x7e]|#/g, '');
    return chance(0.95) ? `${name}=${encoded}` : name;
  });
  return `?${parts.join(chance(0.97) ? '&' : '&&=&')}`;
}

function bodyOf(random: () => number, pick: Pick, chance: (probability: number) => boolean): Buffer {
  const kind = random();
  if (kind < 0.05) return Buffer.from(pick(TEXTS));
  if (kind < 0.1) return Buffer.from(Array.from({ length: 200 }, () => Math.floor(random() * 256)));
  if (kind < 0.13) return Buffer.from(`{"HostConfig":${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}}`);
  if (kind < 0.16) return Buffer.from(`${pick(['{"Cmd":', '{"Env":', ''])}${'['.repeat(20_000)}`);
  if (kind < 0.163) return Buffer.alloc(4 * 2 ** 20 + 100, 'x');
  if (kind < 0.17)
    return Buffer.from(JSON.stringify({ Image: 'nosuch', Env: Array.from({ length: 5000 }, (_, i) => `V${i}=x`) }));
  const whole = kind < 0.5 ? almostRight(random, pick, chance) : valueLike(random, pick, chance, 0, true);
  const text = otherwiseSpelt(JSON.stringify(whole), pick, chance);
  if (chance(0.1)) return Buffer.from(text.slice(0, Math.floor(random() * text.length)));
  return Buffer.from(chance(0.05) ? `${text}${pick(['x', '{}', ' ]', '\u0000'])}` : text);
}

/** As other programs write it: names in another case, `null` for missing values, duplicate members, extra digits. */
function otherwiseSpelt(text: string, pick: Pick, chance: (probability: number) => boolean): string {
  const name = /"([A-Z]\w*)":/g;
  if (chance(0.1)) return text.replaceAll(name, (member) => member.toLowerCase());
  if (chance(0.05)) return text.replaceAll(/:(""|0|\[\]|\{\}|false)/g, ':null');
  if (chance(0.05))
    return text.replace('{', `{"${pick(FIELDS)}":${pick(['null', '1', '{}', '[null]', '"x"', '1e400'])},`);
  if (chance(0.02)) return text.replaceAll(/:(\d+)\b/g, ':$1$1$1$1$1$1$1');
  return text;
}

/** A body that would create a container, except for one field. */
function almostRight(random: () => number, pick: Pick, chance: (probability: number) => boolean): object {
  const junk = valueLike(random, pick, chance, 2);
  const config = { Image: pick(['busybox', 'nosuch']), Cmd: ['true'], AttachStdout: true };
  return chance(0.5) ? { ...config, [pick(FIELDS)]: junk } : { ...config, HostConfig: { [pick(FIELDS)]: junk } };
}

function valueLike(
  random: () => number,
  pick: Pick,
  chance: (probability: number) => boolean,
  depth: number,
  object = false,
): unknown {
  const kind = object && chance(0.95) ? 1 : random();
  if (kind < 0.3) return pick(TEXTS);
  if (kind < 0.5) return pick([0, 1, -1, 2 ** 31, 2 ** 53, -(2 ** 63), 1e308, 0.5, 65_536, 1e12]);
  if (kind < 0.6) return pick([true, false, null]);
  if (kind < 0.75 || depth > 4)
    return Array.from({ length: Math.floor(random() * 4) }, () =>
      depth > 4 ? 1 : valueLike(random, pick, chance, depth + 1),
    );
  const entries = Array.from(
    { length: 1 + Math.floor(random() * 6) },
    () => [chance(0.9) ? pick(FIELDS) : pick(TEXTS), valueLike(random, pick, chance, depth + 1)] as const,
  );
  if (depth === 0) entries.push(['Image', chance(0.03) ? 'busybox' : pick(TEXTS)]);
  return Object.fromEntries(entries);
}
