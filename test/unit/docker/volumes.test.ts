import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestEngine, type TestEngine } from '../../support/docker-engine.js';
import { fakeImage } from '../../support/fake-image-service.js';

let engine: TestEngine;
beforeAll(async () => {
  engine = await startTestEngine();
  engine.images.registry.set('db:1', fakeImage('db:1', { Cmd: ['sh'], Volumes: { '/var/db': {} } }));
  await engine.call('POST', '/images/create?fromImage=db&tag=1');
});
afterAll(() => engine.close());

const INVALID_NAME = (name: string): string =>
  `create ${name}: "${name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`;
const TOO_SHORT = 'create a: volume name is too short, names should be at least two alphanumeric characters';
const volumeMount = (why: string): string => `invalid mount config for type "volume": ${why}`;

const create = (body: object, name = '') =>
  engine.call('POST', `/containers/create${name === '' ? '' : `?name=${name}`}`, {
    Image: 'busybox',
    Cmd: ['true'],
    ...body,
  });
const names = async (query = ''): Promise<string[]> =>
  (await engine.call('GET', `/volumes${query}`)).json.Volumes.map(({ Name }: { Name: string }) => Name).sort();
const filtered = (filters: object): string => `?filters=${encodeURIComponent(JSON.stringify(filters))}`;
const inspect = async (id: string) => (await engine.call('GET', `/containers/${id}/json`)).json;
const remove = (id: string, query = '') => engine.call('DELETE', `/containers/${id}${query}`);
const volumeEvents = async (): Promise<string[]> => {
  const until = (Date.now() / 1000 + 0.01).toFixed(3);
  const { text } = await engine.call('GET', `/events?until=${until}&filters={"type":["volume"]}`);
  return text
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const { Action, Actor } = JSON.parse(line);
      return `${Action} ${Actor.ID.slice(0, 12)} ${JSON.stringify(Actor.Attributes)}`;
    });
};

describe('impossible volumes', () => {
  it.each([
    ['/', `invalid volume specification: '/': ${volumeMount("invalid specification: destination can't be '/'")}`],
    [
      'rel',
      `invalid volume specification: 'rel': ${volumeMount("invalid mount path: 'rel' mount path must be absolute")}`,
    ],
    ['a:b:c:d', "invalid volume specification: 'a:b:c:d'"],
    ['v:/', `invalid volume specification: 'v:/': ${volumeMount("invalid specification: destination can't be '/'")}`],
    [':/x', "invalid volume specification: ':/x'"],
    ['', "invalid volume specification: ''"],
    ['ab:', "invalid volume specification: 'ab:'"],
    ['/anon:ro', "invalid volume specification: '/anon:ro'"],
    ['v:/x:zz', 'invalid mode: zz'],
    ['v:/x:ro,rw', 'invalid mode: ro,rw'],
    ['ab:/b:copy', 'invalid mode: copy'],
    ['ab::/x', 'invalid mode: /x'],
    [
      'ab:/b:rshared',
      `invalid volume specification: 'ab:/b:rshared': ${volumeMount('field BindOptions must not be specified')}`,
    ],
  ])('Binds: %j', async (bind, message) => {
    expect(await create({ HostConfig: { Binds: [bind] } })).toMatchObject({ status: 500, json: { message } });
  });

  it.each([
    ['a:/b', TOO_SHORT],
    ['../a:/b', INVALID_NAME('../a')],
    ['-a:/b', INVALID_NAME('-a')],
  ])('Binds: %j, refused by name', async (bind, message) => {
    expect(await create({ HostConfig: { Binds: [bind] } })).toMatchObject({ status: 400, json: { message } });
  });

  it.each([
    [{}, 'invalid mount config for type "": field Target must not be empty'],
    [{ Type: 'volume' }, volumeMount('field Target must not be empty')],
    [{ Type: 'volume', Target: 'rel' }, volumeMount("invalid mount path: 'rel' mount path must be absolute")],
    [{ Type: 'volume', Target: '/a/..' }, volumeMount("invalid specification: destination can't be '/'")],
    [{ Type: 'zz', Target: '/b' }, 'invalid mount config for type "zz": mount type unknown'],
    [{ Type: 'npipe', Source: 'x', Target: '/b' }, 'invalid mount config for type "npipe": mount type unknown'],
    [{ Type: 'volume', Source: '/abs', Target: '/b' }, INVALID_NAME('/abs')],
    [
      { Type: 'volume', Target: '/b', ReadOnly: true },
      volumeMount('must not set ReadOnly mode when using anonymous volumes'),
    ],
    [
      { Type: 'volume', Target: '/b', VolumeOptions: { Subpath: 's' } },
      volumeMount('must not set Subpath when using anonymous volumes'),
    ],
    [
      { Type: 'volume', Source: 'xx', Target: '/b', VolumeOptions: { Subpath: 'a/../../s' } },
      volumeMount('subpath must be a relative path within the volume'),
    ],
    [
      { Type: 'volume', Source: 'xx', Target: '/b', TmpfsOptions: {} },
      'TmpfsOptions must not be specified on mount type "volume"',
    ],
    [{ Type: 'tmpfs', Target: '/b', VolumeOptions: {} }, 'VolumeOptions must not be specified on mount type "tmpfs"'],
    [
      { Type: 'tmpfs', Source: 'x', Target: '/b' },
      'invalid mount config for type "tmpfs": field Source must not be specified',
    ],
    [
      { Type: 'tmpfs', Target: '/b', TmpfsOptions: { Options: [['noexec'], ['size', '1']] } },
      'invalid mount config for type "tmpfs": invalid option: size',
    ],
    [{ Type: 'bind', Target: '/b' }, 'invalid mount config for type "bind": field Source must not be empty'],
    [
      { Type: 'volume', Source: 'xyz', Target: '/b', VolumeOptions: { DriverConfig: { Options: { foo: 'bar' } } } },
      'create xyz: invalid option: "foo"',
    ],
  ])('Mounts: %j', async (mount, message) => {
    expect(await create({ HostConfig: { Mounts: [mount] } })).toMatchObject({ status: 400, json: { message } });
  });

  it.each([
    [{ HostConfig: { Binds: ['ab:/b', 'cd:/b/'] } }],
    [{ HostConfig: { Binds: ['ab:/b'], Tmpfs: { '/b': '' } } }],
    [{ HostConfig: { Binds: ['ab:/b'], Mounts: [{ Type: 'volume', Source: 'cd', Target: '/b' }] } }],
    [{ HostConfig: { Mounts: ['volume', 'tmpfs'].map((Type) => ({ Type, Target: '/b' })) } }],
  ])('two mounts at one path: %j', async (body) => {
    expect(await create(body)).toMatchObject({ status: 400, json: { message: 'Duplicate mount point: /b' } });
  });

  it.each([
    ['', 'volumes-from specification cannot be an empty string'],
    ['nope', 'No such container: nope'],
    ['nope:zz', 'invalid mode: zz'],
    ['a:b:c', 'invalid mode: b:c'],
    [':ro', 'invalid name or ID supplied: ""'],
  ])('VolumesFrom: %j', async (from, message) => {
    expect(await create({ HostConfig: { VolumesFrom: [from] } })).toMatchObject({ status: 400, json: { message } });
  });

  it.each([
    { Binds: ['/etc:/b'] },
    { Binds: ['/etc/../x:/b:ro'] },
    { Mounts: [{ Type: 'bind', Source: '/etc', Target: '/b' }] },
  ])('a host directory: %j', async (HostConfig) => {
    const { status, json } = await create({ HostConfig });
    expect([status, json.message]).toEqual([
      501,
      expect.stringMatching(/^HostConfig\.(Binds|Mounts) .*directories of the host cannot be mounted/),
    ]);
  });

  it.each([
    [{ Name: 'hv', Driver: 'nope' }, 404, 'create hv: error looking up volume plugin nope: plugin "nope" not found'],
    [{ Name: 'a' }, 400, TOO_SHORT],
    [{ Name: '...' }, 400, INVALID_NAME('...')],
    [{ Name: 'x'.repeat(256) }, 400, `create ${'x'.repeat(40)}…: volume name is too long`],
    [{ Name: 'hv', DriverOpts: { foo: 'b' } }, 400, 'create hv: invalid option: "foo"'],
    [{ Name: 'hv', DriverOpts: { size: 'x' } }, 400, "create hv: invalid size: 'x'"],
    [{ Name: 'hv', DriverOpts: { Capacity: '0' } }, 400, 'create hv: Invalid size: 0'],
    [
      { Name: 'hv', Driver: 'vsphere', DriverOpts: { foo: 'b' } },
      400,
      'create hv: bad driver value - foo is not a supported option',
    ],
    [
      { Name: 'hv', Driver: 'vsphere', DriverOpts: { VolumeStore: 'fast' } },
      404,
      'create hv: No volume store named (fast) exists',
    ],
  ])('created on their own: %j', async (body, status, message) => {
    expect(await engine.call('POST', '/volumes/create', body)).toMatchObject({ status, json: { message } });
  });

  it('leave nothing behind', async () => {
    expect(await names()).toEqual([]);
    const Binds = Array.from({ length: 59 }, (_, i) => `many${i}:/m${i}`);
    expect(await create({ Volumes: { '/one/more': {} }, HostConfig: { Binds } })).toMatchObject({
      status: 400,
      json: { message: "a container's virtual machine can have 59 volumes, not 60" },
    });
    expect((await create({}, 'taken')).status).toBe(201);
    expect((await create({ Volumes: { '/x': {} }, HostConfig: { Binds: ['kept:/k'] } }, 'taken')).status).toBe(409);
    expect(
      (await create({ HostConfig: { Binds: ['/x'], Mounts: [{ Type: 'volume', Source: 'a', Target: '/y' }] } })).status,
    ).toBe(400);
    expect(await names()).toEqual([]);
    await remove('taken');
  });
});

describe('volumes on their own', () => {
  it('are created once, inspected and removed', async () => {
    const made = await engine.call('POST', '/volumes/create', { Name: 'one', Labels: { k: 'v' }, DriverOpts: {} });
    expect(made).toMatchObject({
      status: 201,
      json: { Name: 'one', Driver: 'local', Labels: { k: 'v' }, Options: {}, Scope: 'local' },
    });
    expect(made.json.CreatedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(made.json.Mountpoint).toMatch(/^\[datastore1\] .*\/volumes\/([0-9a-f]{64})\/\1\.vmdk$/);
    const again = await engine.call('POST', '/volumes/create', { Name: 'one', Labels: { other: '' } });
    expect([again.status, again.json]).toEqual([201, made.json]);
    expect((await engine.call('POST', '/volumes/create', { Name: 'one', Driver: 'vsphere' })).status).toBe(409);
    expect((await engine.call('GET', '/volumes/one')).json).toEqual(made.json);
    expect((await engine.call('DELETE', '/volumes/one')).status).toBe(204);
    const gone = { status: 404, json: { message: 'get one: no such volume' } };
    expect(await engine.call('GET', '/volumes/one')).toMatchObject(gone);
    expect(await engine.call('DELETE', '/volumes/one')).toMatchObject(gone);
    expect((await engine.call('DELETE', '/volumes/one?force=1')).status).toBe(204);
  });

  it('have the requested capacity', async () => {
    for (const [Name, Driver, DriverOpts, bytes] of [
      ['c1', 'vsphere', { Capacity: '512' }, 512 * 2 ** 20],
      ['c2', 'vsphere', { capacity: '2GB', VolumeStore: 'default' }, 2 * 2 ** 30],
      ['c3', '', { size: '10m' }, 10 * 2 ** 20],
      ['c4', 'local', { size: '0' }, 2 ** 34],
    ] as const) {
      expect((await engine.call('POST', '/volumes/create', { Name, Driver, DriverOpts })).status).toBe(201);
      expect(engine.portLayer.volumes.get(Name)?.capacityBytes).toBe(bytes);
      await engine.call('DELETE', `/volumes/${Name}`);
    }
  });

  it('are found by filters', async () => {
    await engine.call('POST', '/volumes/create', { Name: 'hv1' });
    await engine.call('POST', '/volumes/create', { Name: 'hv4', Labels: { k: 'v' } });
    await engine.call('POST', '/volumes/create', { Name: 'x.y', Driver: 'vsphere' });
    await create({ HostConfig: { Binds: ['hv1:/d'] } }, 'user');
    for (const [filters, found] of [
      [{ name: ['hv'] }, ['hv1', 'hv4']],
      [{ name: ['^hv', 'y$'] }, ['hv1', 'hv4', 'x.y']],
      [{ name: ['^v'] }, []],
      [{ name: ['['] }, []],
      [{ driver: ['vsphere'] }, ['x.y']],
      [{ driver: ['loc'] }, []],
      [{ label: ['k=v'] }, ['hv4']],
      [{ label: ['k', 'l'] }, []],
      [{ dangling: ['true'] }, ['hv4', 'x.y']],
      [{ dangling: ['0'] }, ['hv1']],
    ] as const)
      expect([filters, await names(filtered(filters))]).toEqual([filters, found]);
    for (const [filters, message] of [
      [{ dangling: ['zz'] }, "invalid filter 'dangling=[zz]'"],
      [{ dangling: ['true', 'false'] }, "invalid filter 'dangling=[true false]'"],
      [{ foo: ['k'] }, "invalid filter 'foo'"],
    ] as const)
      expect(await engine.call('GET', `/volumes${filtered(filters)}`)).toMatchObject({
        status: 400,
        json: { message },
      });
    const { json } = await engine.call('GET', '/v1.51/system/df?type=volume');
    expect(json.Volumes.map((one: { Name: string; UsageData: object }) => [one.Name, one.UsageData])).toEqual([
      ['hv1', { RefCount: 1, Size: 4096 }],
      ['hv4', { RefCount: 0, Size: 4096 }],
      ['x.y', { RefCount: 0, Size: 4096 }],
    ]);
  });

  it('are pruned: only anonymous ones since 1.42, named ones too with `all`', async () => {
    const prune = (filters: object, version = '') =>
      engine.call('POST', `${version}/volumes/prune${filtered(filters)}`);
    const { json: anonymous } = await engine.call('POST', '/volumes/create');
    expect(anonymous.Labels).toEqual({ 'com.docker.volume.anonymous': '' });
    expect(await prune({ all: ['zz'] })).toMatchObject({
      status: 400,
      json: { message: 'invalid filter \'all\': strconv.ParseBool: parsing "zz": invalid syntax' },
    });
    expect(await prune({ until: ['1h'] })).toMatchObject({ json: { message: "invalid filter 'until'" } });
    expect((await prune({ label: ['k'] })).json).toEqual({ VolumesDeleted: [], SpaceReclaimed: 0 });
    expect((await prune({})).json).toEqual({ VolumesDeleted: [anonymous.Name], SpaceReclaimed: 4096 });
    expect((await prune({ all: ['1'], 'label!': ['k'] })).json).toEqual({
      VolumesDeleted: ['x.y'],
      SpaceReclaimed: 4096,
    });
    expect((await prune({}, '/v1.41')).json.VolumesDeleted).toEqual(['hv4']);
    expect(await engine.call('DELETE', '/volumes/hv1')).toMatchObject({
      status: 409,
      json: { message: `remove hv1: volume is in use - [${(await inspect('user')).Id}]` },
    });
    await remove('user', '?v=1');
    expect(await names()).toEqual(['hv1']);
    await engine.call('DELETE', '/volumes/hv1');
  });

  it('cannot be updated outside a swarm', async () => {
    expect((await engine.call('PUT', '/volumes/x', {})).status).toBe(503);
    expect((await engine.call('POST', '/volumes/create', { Name: 'x1', ClusterVolumeSpec: {} })).status).toBe(503);
  });
});

describe('volumes of containers', () => {
  it('are shown as they were requested', async () => {
    const { json } = await create(
      {
        Volumes: { '/anon': {}, '/data': {} },
        HostConfig: {
          Binds: ['hv1:/data', 'hv4:/ro:ro,nocopy'],
          Mounts: [
            { Type: 'volume', Target: '/m/', VolumeOptions: { NoCopy: true, Labels: { a: 'b' } } },
            { Type: 'volume', Source: 'hv5', Target: '/s', VolumeOptions: { Subpath: 'in/it' } },
            { Type: 'tmpfs', Target: '/t', TmpfsOptions: { SizeBytes: 65536, Mode: 0o700 } },
          ],
          Tmpfs: { '/t2': '' },
        },
      },
      'c1',
    );
    const { Mounts, HostConfig, Config } = await inspect('c1');
    const shown = (destination: string): object =>
      Mounts.find(({ Destination }: { Destination: string }) => Destination === destination);
    expect(Mounts).toHaveLength(6);
    expect(shown('/data')).toEqual({
      Type: 'volume',
      Name: 'hv1',
      Source: (await engine.call('GET', '/volumes/hv1')).json.Mountpoint,
      Destination: '/data',
      Driver: 'local',
      Mode: 'z',
      RW: true,
      Propagation: '',
    });
    expect(shown('/ro')).toMatchObject({ Name: 'hv4', Mode: 'ro,nocopy', RW: false });
    expect(shown('/anon')).toMatchObject({ Name: expect.stringMatching(/^[0-9a-f]{64}$/), Mode: '', RW: true });
    expect(shown('/t')).toEqual({
      Type: 'tmpfs',
      Source: '',
      Destination: '/t',
      Mode: '',
      RW: true,
      Propagation: '',
    });
    expect(HostConfig).toMatchObject({ Binds: ['hv1:/data', 'hv4:/ro:ro,nocopy'], Mounts: expect.any(Array) });
    expect(Config.Volumes).toEqual({ '/anon': {}, '/data': {} });
    const { spec } = engine.portLayer.exec.resolve(json.Id);
    expect(spec.volumes).toEqual([
      { volume: 'hv1', path: '/data', readOnly: false },
      { volume: 'hv4', path: '/ro', readOnly: true },
      { volume: expect.any(String), path: '/m', readOnly: false, disposable: true },
      { volume: 'hv5', path: '/s', readOnly: false, subpath: 'in/it' },
      { volume: expect.any(String), path: '/anon', readOnly: false, disposable: true },
    ]);
    expect(spec.tmpfs?.map(({ path, options }) => `${path} ${options}`)).toEqual(['/t2 ', '/t mode=700,size=65536']);
    expect(engine.portLayer.volumes.contents.slice(-2).map(({ path }) => path)).toEqual(['/data', '/anon']);
  });

  it('are found by `ps`, by name and by path', async () => {
    const found = async (volume: string): Promise<number> =>
      (await engine.call('GET', `/containers/json${filtered({ volume: [volume] })}&all=1`)).json.length;
    for (const [volume, count] of [
      ['hv1', 1],
      ['/data', 1],
      ['/t', 1],
      ['hv', 0],
      ['/dat', 0],
      ['/data/', 0],
    ] as const)
      expect([volume, await found(volume)]).toEqual([volume, count]);
  });

  it('come from other containers, of which later ones take precedence', async () => {
    await create({ HostConfig: { VolumesFrom: ['c1:ro'] } }, 'c2');
    await create({ HostConfig: { VolumesFrom: ['c2', 'c1'], Binds: ['own:/data'] } }, 'c3');
    const rows = async (name: string): Promise<string[]> =>
      (await inspect(name)).Mounts.map(
        (one: { Destination: string; Mode: string; RW: boolean }) => `${one.Destination} ${one.Mode} ${one.RW}`,
      );
    expect(await rows('c2')).toEqual([
      '/data  false',
      '/ro  false',
      '/m  false',
      '/s  false',
      '/t  false',
      '/anon  false',
    ]);
    expect(await rows('c3')).toEqual(['/data z true', '/ro  false', '/m  true', '/s  true', '/t  true', '/anon  true']);
    expect((await inspect('c2')).HostConfig.VolumesFrom).toEqual(['c1:ro']);
    expect((await engine.call('DELETE', '/volumes/hv4')).json.message).toMatch(
      /^remove hv4: volume is in use - \[.*, .*, .*\]$/,
    );
  });

  it('are removed with the last container if they are anonymous and it is asked for', async () => {
    const before = await names();
    await remove('c1', '?v=1');
    expect(await names()).toEqual(before);
    await remove('c2');
    await remove('c3', '?v=1');
    expect(await names()).toEqual(['hv1', 'hv4', 'hv5', 'own']);
    for (const name of await names()) await engine.call('DELETE', `/volumes/${name}`);
    await create({ Image: 'db:1', HostConfig: { Tmpfs: { '/other': '' } } }, 'kept');
    await remove('kept');
    expect(await names()).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
    await engine.call('POST', '/volumes/prune');
  });

  it('of an image are replaced by what is mounted there', async () => {
    await create({ Image: 'db:1', HostConfig: { Binds: ['db:/var/db/'] } }, 'covered');
    expect((await inspect('covered')).Mounts).toMatchObject([{ Name: 'db', Destination: '/var/db' }]);
    await create({ Image: 'db:1', HostConfig: { Tmpfs: { '/var/db': '' } } }, 'memory');
    expect((await inspect('memory')).Mounts).toEqual([]);
    await Promise.all([remove('covered'), remove('memory')]);
    await engine.call('DELETE', '/volumes/db');
  });

  it('appear in events as in Docker', async () => {
    const past = (await volumeEvents()).length;
    await create({ Volumes: { '/an': {} }, HostConfig: { Binds: ['ev:/d:ro'], AutoRemove: true } }, 'told');
    const { Id: id, Mounts } = await inspect('told');
    const anonymous: string = Mounts[1].Name;
    await engine.call('POST', '/containers/told/start');
    await engine.call('POST', '/containers/told/wait?condition=removed');
    expect((await volumeEvents()).slice(past)).toEqual([
      'create ev {"driver":"local"}',
      `create ${anonymous.slice(0, 12)} {"driver":"local"}`,
      `mount ev {"container":"${id}","destination":"/d","propagation":"","read/write":"false","driver":"local"}`,
      `mount ${anonymous.slice(0, 12)} {"container":"${id}","destination":"/an","propagation":"","read/write":"true","driver":"local"}`,
      `unmount ev {"container":"${id}","driver":"local"}`,
      `unmount ${anonymous.slice(0, 12)} {"container":"${id}","driver":"local"}`,
      `destroy ${anonymous.slice(0, 12)} {"driver":"local"}`,
    ]);
    expect(await names()).toEqual(['ev']);
  });
});
