/** What API 1.52 to 1.56 changed, and that older versions are unaffected (moby's version history and routers). */
import { describe, expect, it, vi } from 'vitest';
import { streamType } from '../../../appliance/docker/http/json-stream.js';
import { sharedEngine } from '../../support/shared-engine.js';

const engine = sharedEngine();
const get = async (path: string) => (await engine.call('GET', path)).json;
const create = (version: string, body: object = {}, name = 'con') =>
  engine.call('POST', `/v${version}/containers/create?name=${name}`, {
    Image: 'busybox',
    Cmd: ['sleep', '60'],
    ...body,
  });
const MAC = '02:42:ac:11:00:09';
const LEGACY = [
  'Bridge,HairpinMode,LinkLocalIPv6Address,LinkLocalIPv6PrefixLen,SecondaryIPAddresses,SecondaryIPv6Addresses',
  'EndpointID,Gateway,GlobalIPv6Address,GlobalIPv6PrefixLen,IPAddress,IPPrefixLen,IPv6Gateway,MacAddress',
].flatMap((line) => line.split(','));

describe('inspect', () => {
  it('shows addresses only below Networks since 1.52', async () => {
    await create('1.51', { MacAddress: MAC });
    await engine.call('POST', '/containers/con/start');
    const { NetworkSettings: old, Config } = await get('/v1.51/containers/con/json');
    for (const field of LEGACY) expect(old).toHaveProperty(field);
    expect(old.IPAddress).toBe(old.Networks.bridge.IPAddress);
    expect(Config).toMatchObject({ MacAddress: MAC, OnBuild: null });
    for (const version of ['/v1.52', '/v1.56', '']) {
      const { NetworkSettings: seen, Config: config, Storage } = await get(`${version}/containers/con/json`);
      expect(Object.keys(seen).sort()).toEqual(['Networks', 'Ports', 'SandboxID', 'SandboxKey']);
      expect(seen.Networks.bridge).toEqual(old.Networks.bridge);
      expect(config).not.toHaveProperty('MacAddress');
      expect(config).not.toHaveProperty('OnBuild');
      expect(Storage).toEqual({ RootFS: { Snapshot: { Name: 'vmdk' } } });
    }
  });
});

describe('create', () => {
  it.each([
    ['1.51', { MacAddress: MAC }, 201, /deprecated/],
    ['1.43', { MacAddress: MAC }, 201, null],
    ['1.43', { MacAddress: MAC, HostConfig: { NetworkMode: 'none' } }, 400, /^conflicting options: mac-address/],
    ['1.52', { MacAddress: MAC }, 400, /^container-wide MAC address no longer supported/],
    ['1.51', { HostConfig: { PortBindings: { '80/tcp': [] } } }, 201, null],
    ['1.52', { HostConfig: { PortBindings: { '80/tcp': [] } } }, 201, /port-bindings: 80\/tcp\. Such bindings/],
    ['1.47', { HostConfig: { VolumeDriver: 'local', Mounts: [{ Type: 'volume', Target: '/v' }] } }, 201, null],
    [
      '1.48',
      { HostConfig: { VolumeDriver: 'local', Mounts: [{ Type: 'volume', Target: '/v' }] } },
      201,
      /volume-driver/,
    ],
    ['1.41', { HostConfig: { Mounts: [{ Type: 'tmpfs', Target: '/v', VolumeOptions: {} }] } }, 201, null],
    ['1.42', { HostConfig: { Mounts: [{ Type: 'tmpfs', Target: '/v', VolumeOptions: {} }] } }, 400, /VolumeOptions/],
    ['1.43', { NetworkingConfig: { EndpointsConfig: { bridge: {}, other: {} } } }, 400, /multiple network endpoints: /],
    ['1.47', { HostConfig: { Mounts: [{ Type: 'image', Target: '/v' }] } }, 400, /needs API v1\.48/],
    ['1.56', { HostConfig: { Umask: -1 } }, 400, /Umask/],
  ])('%s %j: %i', async (version, body, status, words) => {
    const answer = await create(version, body);
    expect(answer.status, answer.text).toBe(status);
    const told = status === 201 ? answer.json.Warnings : [answer.json.message];
    expect(told).toEqual(words === null ? [] : [expect.stringMatching(words)]);
  });

  it('a umask since 1.56, 0 too', async () => {
    for (const [version, Umask, kept] of [
      ['1.55', 18, undefined],
      ['1.56', 18, 18],
      ['1.56', 0, 0],
      ['1.56', null, undefined],
    ] as const) {
      await create(version, { HostConfig: { Umask } });
      expect((await get('/containers/con/json')).HostConfig.Umask).toBe(kept);
      expect((await get('/v1.55/containers/con/json')).HostConfig).not.toHaveProperty('Umask');
      expect(engine.portLayer.exec.resolve('con').spec.process.umask).toBe(kept);
      await engine.call('DELETE', '/containers/con');
    }
  });
});

describe('ps', () => {
  it('shows the health since 1.52', async () => {
    await create('1.56');
    const [row] = await get('/v1.52/containers/json?all=1');
    expect(row.Health).toEqual({ Status: 'none', FailingStreak: 0 });
    expect((await get('/v1.51/containers/json?all=1'))[0]).not.toHaveProperty('Health');
  });

  it('finds annotations since 1.56', async () => {
    await create('1.56', { HostConfig: { Annotations: { a: 'b' } } });
    const found = (filter: string, version = '1.56') =>
      engine.call('GET', `/v${version}/containers/json?all=1&filters=${JSON.stringify({ annotation: [filter] })}`);
    expect((await found('a')).json).toHaveLength(1);
    expect((await found('a=b')).json).toHaveLength(1);
    expect((await found('a=c')).json).toHaveLength(0);
    expect((await found('toString')).json).toHaveLength(0);
    expect(await found('a', '1.55')).toMatchObject({ status: 400, json: { message: "invalid filter 'annotation'" } });
  });
});

describe('streams of values', () => {
  it.each([
    ['1.51', undefined, 'application/json'],
    ['1.52', undefined, 'application/jsonl'],
    ['1.52', '*/*', 'application/jsonl'],
    ['1.52', 'application/json', 'application/jsonl'],
    ['1.52', 'application/x-ndjson', 'application/x-ndjson'],
    ['1.52', 'application/json-seq', 'application/json-seq'],
    ['1.52', 'text/html, application/json-seq;q=0.5, application/x-ndjson;q=0.8', 'application/x-ndjson'],
    ['1.52', 'application/json-seq;q=0', 'application/jsonl'],
    ['1.52', 'application/json-seq, application/jsonl', 'application/jsonl'],
  ])('%s %s: %s', (version, accept, type) => {
    expect(streamType({ headers: accept === undefined ? {} : { accept } }, version)).toBe(type);
  });

  it('events: without what they had before 1.22, as lines or as a sequence', async () => {
    await create('1.56');
    const events = (version: string, accept?: string) =>
      engine.call(
        'GET',
        `/v${version}/events?since=1&until=${Date.now() / 1000 + 0.01}`,
        undefined,
        accept === undefined ? {} : { accept },
      );
    const old = await events('1.51');
    expect(JSON.parse(old.text.split('\n')[0]!)).toHaveProperty('status');
    for (const line of (await events('1.52')).text.trim().split('\n'))
      expect(Object.keys(JSON.parse(line)).sort()).toEqual(['Action', 'Actor', 'Type', 'scope', 'time', 'timeNano']);
    const sequence = await events('1.56', 'application/json-seq');
    expect(sequence.headers['content-type']).toBe('application/json-seq');
    for (const record of sequence.text.split('\n').filter(Boolean))
      expect([record.charCodeAt(0), record[1], record.at(-1)]).toEqual([0x1e, '{', '}']);
  });

  it.each(['containers', 'images', 'volumes', 'networks', 'build'])('prunes of %s since 1.56', async (kind) => {
    await create('1.56');
    const whole = await engine.call('POST', `/v1.55/${kind}/prune?stream=1`);
    expect(whole.headers['content-type']).toBe('application/json');
    const { json: made } = await create('1.56', {}, 'other');
    const lines = await engine.call('POST', `/v1.56/${kind}/prune?stream=true`);
    expect(lines.headers['content-type']).toBe('application/jsonl');
    const values = lines.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(Object.keys(values.at(-1))).toEqual(['aux']);
    expect(Object.keys(values.at(-1).aux)).toEqual(Object.keys(whole.json));
    if (kind === 'containers') expect(values[0]).toEqual({ status: 'deleted', id: made.Id });
    expect(await engine.call('POST', `/v1.56/${kind}/prune?stream=1&filters={"no":["x"]}`)).toMatchObject({
      status: 400,
    });
  });
});

describe('system/df', () => {
  it('sums up by kind since 1.52, together with the old form in 1.52 only', async () => {
    await create('1.56');
    expect(Object.keys(await get('/v1.51/system/df'))).toEqual(
      expect.arrayContaining(['LayersSize', 'Images', 'Containers', 'Volumes', 'BuildCache']),
    );
    const both = await get('/v1.52/system/df');
    expect(both).toMatchObject({ Images: [{}], ContainerUsage: { TotalCount: 1 }, ImageUsage: { TotalCount: 1 } });
    expect(both.ImageUsage).not.toHaveProperty('Items');
    for (const path of ['/v1.52/system/df?verbose=1', '/v1.53/system/df?verbose=true', '/system/df?verbose=1']) {
      const verbose = await get(path);
      expect(Object.keys(verbose).sort()).toEqual(['BuildCacheUsage', 'ContainerUsage', 'ImageUsage', 'VolumeUsage']);
      expect(verbose.ImageUsage).toMatchObject({ ActiveCount: 1, TotalCount: 1, Items: [{ Containers: 1 }] });
      expect(verbose.ContainerUsage.Items).toHaveLength(1);
    }
    expect(Object.keys(await get('/v1.53/system/df?type=volume'))).toEqual(['VolumeUsage']);
    expect(await get('/v1.53/system/df')).not.toHaveProperty('LayersSize');
  });
});

describe('images', () => {
  it('are inspected without unset fields since 1.52', async () => {
    const old = await get('/v1.51/images/busybox/json');
    expect(old).toMatchObject({ Parent: '', DockerVersion: '', Config: { OnBuild: null, User: '' } });
    const seen = await get('/v1.52/images/busybox/json');
    for (const field of ['Parent', 'DockerVersion', 'Author']) expect(seen).not.toHaveProperty(field);
    expect(Object.values(seen.Config).filter((value) => value === null || value === '')).toEqual([]);
  });

  it('their containers are counted since 1.51', async () => {
    await create('1.56');
    expect((await get('/v1.50/images/json'))[0].Containers).toBe(-1);
    expect((await get('/v1.51/images/json'))[0].Containers).toBe(1);
  });

  it('have identities and attestations in the versions that know them', async () => {
    expect(await engine.call('GET', '/v1.54/images/json?identity=1')).toMatchObject({
      status: 400,
      json: { message: 'conflicting options: identity requires manifests=1' },
    });
    expect((await engine.call('GET', '/v1.53/images/json?identity=1')).status).toBe(200);
    expect((await engine.call('GET', '/v1.54/images/json?identity=1&manifests=1')).status).toBe(200);
    expect((await engine.call('GET', '/v1.54/images/busybox/attestations')).status).toBe(404);
    expect((await engine.call('GET', '/v1.55/images/busybox/attestations')).status).toBe(501);
    expect((await engine.call('GET', '/v1.55/images/nosuch/attestations')).status).toBe(404);
    expect((await engine.call('GET', '/v1.55/images/busybox/attestations?platform={}&platform={}')).status).toBe(400);
  });
});

it('update accepts device limits since 1.55', async () => {
  await create('1.56');
  const rates = { BlkioDeviceReadBps: [{ Path: '/dev/sda', Rate: 1 }] };
  expect((await engine.call('POST', '/v1.54/containers/con/update', rates)).status).toBe(200);
  expect((await engine.call('POST', '/v1.55/containers/con/update', rates)).status).toBe(501);
});

it('stats name the operating system since 1.52', async () => {
  await create('1.56');
  expect(await get('/v1.52/containers/con/stats?stream=0')).toHaveProperty('os_type', 'linux');
  expect(await get('/v1.51/containers/con/stats?stream=0')).not.toHaveProperty('os_type');
});

it('info leaves out the fields that a version does not have', async () => {
  const has = async (version: string, field: string): Promise<boolean> =>
    Object.hasOwn(await get(`/v${version}/info`), field);
  expect([await has('1.51', 'KernelMemoryTCP'), await has('1.52', 'KernelMemoryTCP')]).toEqual([true, false]);
  const registry = async (version: string) => (await get(`/v${version}/info`)).RegistryConfig;
  expect(await registry('1.46')).toHaveProperty('AllowNondistributableArtifactsCIDRs');
  expect(await registry('1.47')).not.toHaveProperty('AllowNondistributableArtifactsCIDRs');
});

it('the engine names the Docker version that it corresponds to and its own', async () => {
  const { Version, Components } = await get('/version');
  expect(Version).toMatch(/^(\d+)\.(\d+)\.(\d+)\+caisson\.\d+\.\d+\.\d+$/);
  expect((await get('/info')).ServerVersion).toBe(Version);
  const named = Object.fromEntries(Components.map((one: { Name: string; Version: string }) => [one.Name, one.Version]));
  expect(named).toMatchObject({ Engine: Version, Caisson: Version.split('+caisson.')[1], QEMU: '7.2.22' });
});

it('the kernel shown is that of the containers; the emulator is shown where it is known', async () => {
  const { KernelVersion, Components } = await get('/version');
  const info = await get('/info');
  expect([KernelVersion, info.KernelVersion]).toEqual(Array(2).fill('6.1.0-50-cloud-amd64'));
  expect(Components.at(-1).Details).toEqual({
    Emulator: expect.stringContaining('QEMU emulator version 7.2.22'),
    Acceleration: 'kvm: it works here',
    Kernel: KernelVersion,
  });
  expect(info.DriverStatus).toContainEqual(['Emulator', expect.stringContaining('7.2.22')]);
  const host = await engine.portLayer.hostInfo();
  const unknown = vi.spyOn(engine.portLayer, 'hostInfo');
  unknown.mockResolvedValue({ ...host, acceleration: '', emulator: '', containerKernel: '' });
  const seen = await get('/version');
  unknown.mockRestore();
  expect(seen.KernelVersion).toBe('6.1.0');
  expect(seen.Components.at(-1).Name).toBe('vSphere');
});
