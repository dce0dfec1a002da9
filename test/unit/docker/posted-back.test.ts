/** The output of `inspect` posted back to `create` gives the same container, repeatedly and in every API version. */
import { describe, expect, it } from 'vitest';
import { sharedEngine } from '../../support/shared-engine.js';

const engine = sharedEngine();

interface Inspect {
  Id: string;
  Config: Record<string, unknown>;
  HostConfig: Record<string, unknown>;
  NetworkSettings: { Networks: Record<string, Record<string, unknown>> };
  Mounts: { Name: string; Destination: string }[];
}
type Change = (config: Record<string, unknown>, seen: Inspect) => void;

const inspect = async (version: string, name = 'web'): Promise<Inspect> =>
  (await engine.call('GET', `/v${version}/containers/${name}/json`)).json;
const create = (version: string, body: object, name = 'web') =>
  engine.call('POST', `/v${version}/containers/create?name=${encodeURIComponent(`/${name}`)}`, body);

/** As tools do it: inspect, remove the old container, create a new one of the same name. */
async function again(version: string, change: Change = () => undefined): Promise<[Inspect, Inspect]> {
  const before = await inspect(version);
  const Config = structuredClone(before.Config);
  change(Config, before);
  await engine.call('DELETE', '/containers/web?force=1&v=1');
  const answer = await create(version, {
    ...Config,
    HostConfig: before.HostConfig,
    NetworkingConfig: { EndpointsConfig: before.NetworkSettings.Networks },
  });
  expect(answer.status, answer.text).toBe(201);
  return [before, await inspect(version)];
}

/** Without ids, times and addresses; names of anonymous volumes are ids too. */
function lasting({ Config, HostConfig, NetworkSettings, Mounts }: Inspect): object {
  const { MacAddress: _, ...config } = Config;
  const networks = Object.fromEntries(
    Object.entries(NetworkSettings.Networks).map(([name, { IPAMConfig, Links, Aliases, DriverOpts }]) => [
      name,
      { IPAMConfig, Links, Aliases, DriverOpts },
    ]),
  );
  const mounts = Mounts.map((mount) =>
    Object.fromEntries(
      Object.entries(mount).map(([key, value]) => [
        key,
        typeof value === 'string' ? value.replace(/[0-9a-f]{64}/g, 'id') : value,
      ]),
    ),
  );
  return { config, HostConfig, networks, mounts };
}

const VERSIONS = ['1.25', '1.40', '1.44', '1.47', '1.51', '1.52', '1.56'];
const KINDS: Record<string, object> = {
  plain: {},
  'ports, volumes, limits': {
    Env: ['A=b'],
    Volumes: { '/anonymous': {} },
    ExposedPorts: { '80/tcp': {}, '53/udp': {} },
    HostConfig: {
      PortBindings: { '80/tcp': [{ HostPort: '0' }], '81/tcp': null, '82/tcp': [] },
      Binds: ['wv:/data:ro', '/other'],
      RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 3 },
      Memory: 2 ** 26,
      Ulimits: [{ Name: 'nofile', Soft: 100, Hard: 200 }],
      Tmpfs: { '/t': 'size=1m' },
      PidsLimit: 50,
      NanoCpus: 5e8,
      MemorySwappiness: 10,
      OomKillDisable: true,
      OomScoreAdj: 10,
    },
  },
  mounts: {
    HostConfig: {
      Mounts: [
        { Type: 'volume', Target: '/a' },
        {
          Type: 'volume',
          Source: 'named',
          Target: '/b',
          ReadOnly: true,
          VolumeOptions: { NoCopy: true, Labels: { a: 'b' } },
        },
        { Type: 'tmpfs', Target: '/c', TmpfsOptions: { SizeBytes: 4096, Mode: 448 } },
      ],
      ReadonlyRootfs: true,
    },
  },
  privileged: { HostConfig: { Privileged: true } },
  'privileged, with options': { HostConfig: { Privileged: true, SecurityOpt: ['seccomp=unconfined'] } },
  'runtime runc': { HostConfig: { Runtime: 'runc', CgroupnsMode: 'host' } },
  'no network': { HostConfig: { NetworkMode: 'none' } },
  'network disabled': { NetworkDisabled: true },
  'default network': { HostConfig: { NetworkMode: 'default' } },
  logs: { HostConfig: { LogConfig: { Type: 'local', Config: { 'max-size': '10m' } } } },
  'no log': { HostConfig: { LogConfig: { Type: 'none' } } },
  'kernel settings': {
    HostConfig: {
      Sysctls: { 'net.ipv4.ip_forward': '1' },
      ShmSize: 2 ** 20,
      Init: true,
      CapAdd: ['net_admin'],
      CapDrop: ['ALL'],
    },
  },
  'hidden paths': { HostConfig: { MaskedPaths: ['/proc/kcore'], ReadonlyPaths: [] } },
  'no hidden paths': { HostConfig: { MaskedPaths: [], ReadonlyPaths: ['/proc/sys'] } },
  'health, signals': {
    Healthcheck: { Test: ['CMD', 'true'], Interval: 1e9, Timeout: 1e9, Retries: 2 },
    StopSignal: 'SIGINT',
    StopTimeout: 3,
    Labels: { a: 'b' },
    User: '1000:1000',
    WorkingDir: '/made',
    Entrypoint: ['/bin/sh', '-c'],
    Domainname: 'd',
    Hostname: 'h',
    Tty: true,
    OpenStdin: true,
    Shell: ['/bin/ash'],
    HostConfig: {
      ConsoleSize: [24, 80],
      Dns: ['1.1.1.1'],
      ExtraHosts: ['a:1.2.3.4'],
      GroupAdd: ['5'],
      IpcMode: 'none',
    },
  },
  'weights of disks': { HostConfig: { BlkioWeight: 300, BlkioWeightDevice: [], StorageOpt: { size: '1G' } } },
  'of 1.56': { HostConfig: { Umask: 0, Annotations: { a: 'b' } } },
  'removed at its end': { HostConfig: { AutoRemove: true } },
};

describe.each(VERSIONS)('API %s', (version) => {
  it.each(Object.keys(KINDS))('%s', async (kind) => {
    const first = await create(version, { Image: 'busybox', Cmd: ['sleep', '60'], ...KINDS[kind] });
    expect(first.status, first.text).toBe(201);
    for (let round = 0; round < 2; round++) {
      const [before, after] = await again(version);
      expect(lasting(after)).toEqual(lasting(before));
    }
  });
});

describe.each(['1.25', '1.51', '1.56'])('API %s', (version) => {
  it('of a running container, with the fields emptied that come from the image', async () => {
    await create(version, { Image: 'busybox', Cmd: ['sleep', '60'], ExposedPorts: { '80/tcp': {} } });
    await engine.call('POST', '/containers/web/start');
    const env = (await engine.call('GET', '/images/busybox/json')).json.Config.Env as string[];
    const [before, after] = await again(version, (config) => {
      config.Env = (config.Env as string[]).filter((one) => !env.includes(one));
      config.User = '';
      config.WorkingDir = '';
      config.Entrypoint = null;
    });
    expect(lasting(after)).toEqual(lasting(before));
    const [, third] = await again(version);
    expect(lasting(third)).toEqual(lasting(after));
  });

  it('with links, as inspect shows them and as tools write them', async () => {
    await create(version, { Image: 'busybox', Cmd: ['sleep', '60'] }, 'db');
    await create(version, { Image: 'busybox', Cmd: ['sleep', '60'], HostConfig: { Links: ['db:db', 'db:other'] } });
    const [before, after] = await again(version);
    expect(lasting(after)).toEqual(lasting(before));
    const [, rewritten] = await again(version, (_config, seen) => {
      seen.HostConfig.Links = (seen.HostConfig.Links as string[]).map((link) => {
        const [target = '', alias = ''] = link.split(':');
        return `${target}:/${alias.split('/').at(-1)}`;
      });
    });
    expect((rewritten.HostConfig.Links as string[]).sort()).toEqual(['/db:/web/db', '/db:/web/other']);
  });
});

it('random options come back unchanged', async () => {
  let seed = 20261129;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    return Math.floor((seed / 0x80000000) * below);
  };
  const kinds = Object.values(KINDS) as { HostConfig?: Record<string, unknown> }[];
  for (let round = 0; round < 60; round++) {
    const version = VERSIONS[random(VERSIONS.length)]!;
    const body: Record<string, unknown> = { Image: 'busybox', Cmd: ['sleep', '60'] };
    const host: Record<string, unknown> = {};
    for (const { HostConfig = {}, ...config } of kinds) {
      for (const [name, value] of Object.entries(config)) if (random(3) === 0) body[name] = value;
      for (const [name, value] of Object.entries(HostConfig)) if (random(4) === 0) host[name] = value;
    }
    const answer = await create(version, { ...body, HostConfig: host });
    // Some options exclude each other.
    if (answer.status !== 201) continue;
    const [before, after] = await again(version);
    expect(lasting(after), JSON.stringify([version, body, host])).toEqual(lasting(before));
    await engine.call('DELETE', '/containers/web?v=1');
  }
});

describe('networks', () => {
  const bridge = (action: string, body: object, version = '1.47') =>
    engine.call('POST', `/v${version}/networks/bridge/${action}`, body);

  it.each([
    [{ Aliases: ['x'] }, 'network-scoped alias is supported only for containers in user defined networks'],
    [
      { IPAMConfig: { IPv4Address: '172.16.0.99' } },
      'user specified IP address is supported on user defined networks only',
    ],
    [
      { IPAMConfig: { IPv4Address: '1.2.3.4' } },
      '* user specified IP address is supported on user defined networks only\n* no configured subnet or ip-range contain the IP address 1.2.3.4',
    ],
  ])('%j is refused on the default network', async (bridge, words) => {
    const answer = await create('1.47', { Image: 'busybox', NetworkingConfig: { EndpointsConfig: { bridge } } });
    expect(answer.status).toBe(400);
    expect(answer.json.message).toBe(`invalid config for network bridge: invalid endpoint settings:\n${words}`);
  });

  it('a stopped container can leave the network and join it again', async () => {
    await create('1.47', { Image: 'busybox', Cmd: ['sleep', '60'] });
    const { Id, NetworkSettings } = await inspect('1.47');
    expect((await bridge('disconnect', { Container: 'web', Force: true })).status).toBe(200);
    expect((await inspect('1.47')).NetworkSettings.Networks).toEqual({});
    expect(await bridge('disconnect', { Container: Id, Force: true })).toMatchObject({
      status: 500,
      json: { message: `container ${Id} is not connected to the network bridge` },
    });
    const EndpointConfig = { ...NetworkSettings.Networks.bridge, IPAddress: '172.17.0.5', NetworkID: 'a' };
    expect((await bridge('connect', { Container: 'web', EndpointConfig })).status).toBe(200);
    expect((await inspect('1.47')).NetworkSettings).toEqual(NetworkSettings);
    expect((await bridge('connect', { Container: 'web' })).status).toBe(200);
    expect((await engine.call('POST', '/containers/web/start')).status).toBe(204);
    expect(await bridge('connect', { Container: 'web' })).toMatchObject({ status: 403 });
    expect((await bridge('disconnect', { Container: 'web', Force: true })).status).toBe(200);
    expect((await inspect('1.47')).NetworkSettings.Networks).toEqual({});
  });

  it('what is impossible is refused with Docker’s messages', async () => {
    await create('1.47', { Image: 'busybox', Cmd: ['sleep', '60'] });
    expect(await bridge('disconnect', { Container: 'nosuch', Force: true })).toMatchObject({
      status: 404,
      json: { message: 'endpoint nosuch not found' },
    });
    expect(await bridge('connect', { Container: 'nosuch' })).toMatchObject({
      status: 404,
      json: { message: 'No such container: nosuch' },
    });
    expect((await bridge('connect', { Container: '' })).status).toBe(400);
    expect((await engine.call('POST', '/networks/none/connect', { Container: 'web' })).status).toBe(400);
    expect((await engine.call('POST', '/networks/nosuch/connect', { Container: 'web' })).status).toBe(404);
    const MacAddress = '02:42:ac:11:00:09';
    expect((await bridge('connect', { Container: 'web', EndpointConfig: { MacAddress } }, '1.53')).status).toBe(200);
    expect((await bridge('connect', { Container: 'web', EndpointConfig: { MacAddress } }, '1.54')).status).toBe(200);
  });
});
