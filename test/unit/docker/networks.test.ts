/** Networks over the API, on a fake port layer. What Docker Engine says to the same is compared by the differential suite. */
import { beforeEach, describe, expect, it } from 'vitest';
import { sharedEngine } from '../../support/shared-engine.js';

const engine = sharedEngine();

const create = (body: object, version = '1.56') => engine.call('POST', `/v${version}/networks/create`, body);
const networks = async (filters: object): Promise<string[]> => {
  const { json } = await engine.call('GET', `/networks?filters=${encodeURIComponent(JSON.stringify(filters))}`);
  return json.message ?? json.map(({ Name }: { Name: string }) => Name);
};
const shown = async (name: string, version = '1.56') =>
  (await engine.call('GET', `/v${version}/networks/${name}`)).json;
const container = async (name: string, version = '1.56') =>
  (await engine.call('GET', `/v${version}/containers/${name}/json`)).json;
const made = async (name: string, body: object = {}, version = '1.56'): Promise<void> => {
  const answer = await engine.call('POST', `/v${version}/containers/create?name=${name}`, {
    Image: 'busybox',
    Cmd: ['sleep', '60'],
    ...body,
  });
  expect(answer.status, answer.text).toBe(201);
};
const join = (network: string, body: object, version = '1.56') =>
  engine.call('POST', `/v${version}/networks/${network}/connect`, body);
const leave = (network: string, body: object) => engine.call('POST', `/networks/${network}/disconnect`, body);

beforeEach(async () => {
  for (const { Id, Name } of (await engine.call('GET', '/networks')).json.reverse())
    if (!['bridge', 'none', 'host'].includes(Name)) await engine.call('DELETE', `/networks/${Id}`);
});

describe('making a network', () => {
  it('keeps everything that was asked for', async () => {
    const IPAM = {
      Driver: 'default',
      Options: { a: 'b' },
      Config: [
        { Subnet: '10.1.0.0/16', IPRange: '10.1.2.0/24', Gateway: '10.1.0.9', AuxiliaryAddresses: { x: '10.1.0.3' } },
      ],
    };
    const asked = { Internal: true, Attachable: true, Labels: { l: '1' }, Options: { foo: 'bar' }, IPAM };
    const { status, json } = await create({ Name: 'n', ...asked });
    expect(status).toBe(201);
    expect(json).toEqual({ Id: expect.stringMatching(/^[0-9a-f]{64}$/), Warning: '' });
    expect(await shown('n')).toMatchObject({ Name: 'n', Id: json.Id, Driver: 'bridge', Scope: 'local', ...asked });
  });

  it.each([
    [{ Name: 'n', Driver: 'macvlan' }, 501, "networks of the driver 'macvlan' are not implemented"],
    [{ Name: 'n', Scope: 'global' }, 400, "invalid scope 'global'"],
    [
      { Name: 'n', Options: { 'com.docker.network.bridge.gateway_mode_ipv4': 'routed' } },
      501,
      'gateway_mode_ipv4=routed',
    ],
    [{ Name: 'n', Options: { 'com.docker.network.bridge.inhibit_ipv4': 'true' } }, 501, 'inhibit_ipv4=true'],
    [
      { Name: 'n', Options: { 'com.docker.network.bridge.trusted_host_interfaces': 'eth0' } },
      501,
      'trusted_host_interfaces',
    ],
    [{ Name: 'n', Options: { 'com.docker.network.host_ipv4': '1.2.3.4' } }, 501, 'host_ipv4=1.2.3.4'],
    [{ Name: 'n', Options: { 'com.docker.network.container_iface_prefix': 'c t' } }, 400, 'container_iface_prefix'],
    [{ Name: 'n', Options: { 'caisson.egress': 'zz' } }, 400, 'failed to parse caisson.egress value: zz'],
    [{ Name: 'n', Options: { 'caisson.egress-rate': '10mb' } }, 400, "caisson.egress-rate '10mb' is no rate"],
    [{ Name: 'n', Options: { 'caisson.egress-rate': '10mbit' } }, 501, 'does not pass by this endpoint'],
    [{ Name: 'n', Internal: true, Options: { 'caisson.egress-rate': '10mbit' } }, 400, 'has no way out'],
    [{ Name: 'n', Options: { 'com.docker.network.driver.mtu': '70000' } }, 400, 'invalid MTU number: 70000'],
  ])('%j: %i', async (body, status, message) => {
    const answer = await create(body);
    expect(answer.status).toBe(status);
    expect(answer.json.message).toContain(message);
    expect(await networks({ type: ['custom'] })).toEqual([]);
  });

  it('options come to what the port layer does', async () => {
    const Options = {
      'com.docker.network.bridge.enable_icc': 'false',
      'com.docker.network.driver.mtu': '1400',
      'com.docker.network.bridge.enable_ip_masquerade': 'false',
    };
    await create({ Name: 'n', Options });
    const { icc, mtu, egress } = engine.portLayer.network.resolve('n');
    expect({ icc, mtu, egress }).toEqual({ icc: false, mtu: 1400, egress: 'none' });
    await create({
      Name: 'm',
      Options: { 'caisson.egress': 'none', 'com.docker.network.bridge.gateway_mode_ipv4': 'nat' },
    });
    expect(engine.portLayer.network.resolve('m')).toMatchObject({ icc: true, mtu: 0, egress: 'none' });
  });

  it.each([
    ['1.47', {}, true],
    ['1.48', {}, false],
  ])('EnableIPv4 in %s', async (version, more, ipv4) => {
    await create({ Name: 'n', EnableIPv4: false, EnableIPv6: true, ...more }, version);
    expect(engine.portLayer.network.resolve('n')).toMatchObject({ ipv4, ipv6: true });
  });

  it('a name is taken once, also when two ask at the same time', async () => {
    const answers = await Promise.all([create({ Name: 'n' }), create({ Name: 'n' })]);
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409]);
  });
});

describe('a network that is only a configuration', () => {
  const IPAM = { Config: [{ Subnet: '10.1.0.0/16' }] };
  const config = {
    Name: 'c',
    ConfigOnly: true,
    Labels: { l: '1' },
    Options: { 'com.docker.network.driver.mtu': '1400' },
  };

  it('is what others are made from, and stays as long as they do', async () => {
    await create({ ...config, IPAM });
    expect(await shown('c')).toMatchObject({ Driver: 'null', ConfigOnly: true, Labels: { l: '1' }, IPAM });
    await create({ Name: 'n', ConfigFrom: { Network: 'c' } });
    const { Labels, Options } = config;
    expect(await shown('n')).toMatchObject({ Driver: 'bridge', ConfigFrom: { Network: 'c' }, Labels, Options, IPAM });
    expect(engine.portLayer.network.resolve('n')).toMatchObject({ mtu: 1400 });
    expect((await engine.call('DELETE', '/networks/c')).json.message).toMatch(/configuration network "c" is in use/);
    expect((await engine.call('POST', '/networks/prune')).json).toEqual({ NetworksDeleted: ['n'] });
    expect((await engine.call('DELETE', '/networks/c')).status).toBe(204);
  });

  it('its options are judged when a network is made from it', async () => {
    await create({ ...config, Options: { 'com.docker.network.bridge.enable_icc': 'zz' } });
    const { status, json } = await create({ Name: 'n', ConfigFrom: { Network: 'c' } });
    expect([status, json.message]).toEqual([400, expect.stringContaining('enable_icc value: zz')]);
  });
});

it('an answer warns of options that mean less than in Docker', async () => {
  const Options = { 'com.docker.network.bridge.name': 'br-x', 'com.docker.network.nosuch': '1', foo: 'bar' };
  const { Warning } = (await create({ Name: 'n', Options })).json;
  expect(Warning).toContain(
    "bridge.name=br-x: no interface of this machine has that name; the network is the port group 'test-br-x'",
  );
  expect(Warning).toContain('nosuch: there is no such option');
  expect(Warning).not.toContain('foo');
  const again = await create({ Name: 'm', Options });
  expect([again.status, again.json.message]).toEqual([403, expect.stringContaining('networks have same bridge name')]);
});

it('subnets that were asked for are shown before one that was chosen', async () => {
  await create({ Name: 'n', EnableIPv6: true, IPAM: { Config: [{ Subnet: '2001:db8::/64' }] } });
  const [asked, chosen] = ((await shown('n')).IPAM as { Config: { Subnet: string }[] }).Config;
  expect(asked).toEqual({ Subnet: '2001:db8::/64' });
  expect(chosen?.Subnet).toMatch(/^[\d.]+\/\d+$/);
});

it('how much of its subnets is used is told since 1.52', async () => {
  await create({ Name: 'n', IPAM: { Config: [{ Subnet: '10.1.0.0/16' }] } });
  expect((await shown('n', '1.51')).Status).toBeUndefined();
  expect((await shown('n', '1.52')).Status).toEqual({
    IPAM: { Subnets: { '10.1.0.0/16': { IPsInUse: 1, DynamicIPsAvailable: 100 } } },
  });
  expect((await shown('none')).Status).toBeUndefined();
});

describe('filters', () => {
  it.each([
    [{ name: ['a'] }, ['aa', 'ab']],
    [{ name: ['^b'], type: ['custom'] }, ['b']],
    [{ name: ['aa', '^b$'] }, ['aa', 'b']],
    [{ label: ['l', 'k=v'] }, ['aa']],
    [{ driver: ['null', 'host'] }, ['host', 'none']],
    [{ type: ['builtin'] }, ['bridge', 'host', 'none']],
    [{ type: ['custom', 'builtin'], name: ['^b$', 'none'] }, ['b', 'none']],
    [{ dangling: ['true'] }, ['aa', 'ab', 'b']],
    [{ dangling: ['0'] }, ['bridge', 'host', 'none']],
    [{ scope: ['swarm'] }, []],
    [{ name: ['(a+)+$'] }, ['aa']],
    [{ type: ['zz'] }, "invalid filter: 'type'='zz'"],
  ])('%j', async (given, found) => {
    await create({ Name: 'aa', Labels: { l: '', k: 'v' } });
    await create({ Name: 'ab', Labels: { l: '' } });
    await create({ Name: 'b' });
    expect(await networks(given)).toEqual(found);
  });
});

describe('a container', () => {
  const place = async (name: string, network: string, version?: string) =>
    (await container(name, version)).NetworkSettings.Networks[network];

  it('is on the networks that its request names, that of its mode first', async () => {
    await create({ Name: 'm' });
    await create({ Name: 'n' });
    const EndpointsConfig = { m: { GwPriority: 3, Links: ['other:o'] }, n: { Aliases: ['x'], DriverOpts: { a: 'b' } } };
    await made('con', { HostConfig: { NetworkMode: 'n' }, NetworkingConfig: { EndpointsConfig } });
    const { networks } = engine.portLayer.exec.resolve('con').spec;
    expect(networks.map(({ network }) => network)).toEqual(['n', 'm']);
    expect(networks[0]).toMatchObject({ aliases: ['x'], driverOpts: { a: 'b' } });
    expect(networks[1]).toMatchObject({ gwPriority: 3, links: ['other:o'] });
    expect(await place('con', 'm')).toMatchObject({ GwPriority: 3, Links: ['other:o'], Aliases: null, DNSNames: null });
    expect(await place('con', 'n')).toMatchObject({ GwPriority: 0, Aliases: ['x'], DriverOpts: { a: 'b' } });
    await engine.call('POST', '/containers/con/start');
    const id = engine.portLayer.exec.resolve('con').spec.id.slice(0, 12);
    expect(await place('con', 'n')).toMatchObject({ DNSNames: ['con', 'x', id], IPAddress: '127.0.0.1' });
    expect((await place('con', 'n', '1.44')).Aliases).toEqual(['x', id]);
    expect(Object.keys((await shown('n')).Containers)).toHaveLength(1);
    const message = `error while removing network: network n has active endpoints (name:"con" id:"`;
    expect((await engine.call('DELETE', '/networks/n')).json.message).toContain(message);
    const [row] = (await engine.call('GET', '/containers/json?filters={"network":["m"]}')).json;
    expect(row.NetworkSettings.Networks.n).toMatchObject({ Aliases: null, DNSNames: null, IPAddress: '127.0.0.1' });
  });

  it('joins and leaves networks while it runs, and the events tell it', async () => {
    await create({ Name: 'n', IPAM: { Config: [{ Subnet: '10.2.0.0/16' }] } });
    const since = Date.now() / 1000;
    await made('con');
    await engine.call('POST', '/containers/con/start');
    const MacAddress = '02:42:ac:11:00:09';
    const EndpointConfig = { IPAMConfig: { IPv4Address: '10.2.0.7' }, Aliases: [], MacAddress };
    expect((await join('n', { Container: 'con', EndpointConfig })).status).toBe(200);
    expect(await place('con', 'n')).toMatchObject({ IPAddress: '10.2.0.7', Aliases: [], MacAddress, IPPrefixLen: 16 });
    expect(await join('n', { Container: 'con' })).toMatchObject({
      status: 403,
      json: { message: 'endpoint with name con already exists in network n' },
    });
    expect((await leave('bridge', { Container: 'con' })).status).toBe(200);
    expect(Object.keys((await container('con')).NetworkSettings.Networks)).toEqual(['n']);
    expect((await leave('n', { Container: 'con' })).status).toBe(200);
    expect((await container('con')).NetworkSettings.Networks).toEqual({});
    const events = await engine.call(
      'GET',
      `/events?since=${since}&until=${Date.now() / 1000 + 1}&filters={"type":["network"]}`,
    );
    const told = events.text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))
      .map(({ Action, Actor }) => `${Action} ${Actor.Attributes.name}`);
    expect(told.filter((one) => one !== 'create n')).toEqual([
      'connect bridge',
      'connect n',
      'disconnect bridge',
      'disconnect n',
    ]);
  });

  it('may name its interface and set the interface’s sysctls', async () => {
    await create({ Name: 'n' });
    const option = (name: string, value: string) => ({
      DriverOpts: { [`com.docker.network.endpoint.${name}`]: value },
    });
    const { DriverOpts: one } = option('ifname', 'web0');
    const { DriverOpts: two } = option(
      'sysctls',
      'net.ipv4.conf.ifname.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0',
    );
    await made('con');
    expect((await join('n', { Container: 'con', EndpointConfig: { DriverOpts: { ...one, ...two } } })).status).toBe(
      200,
    );
    expect(engine.portLayer.exec.resolve('con').spec.networks[1]).toMatchObject({
      interfaceName: 'web0',
      sysctls: { 'net.ipv4.conf.IFNAME.log_martians': '1', 'net.ipv4.conf.IFNAME.forwarding': '0' },
    });
    for (const name of ['lo', 'a/b', 'a-name-that-is-too-long'])
      expect(await join('bridge', { Container: 'con', EndpointConfig: option('ifname', name) })).toMatchObject({
        status: 400,
        json: { message: `invalid endpoint settings:\ninvalid interface name '${name}'` },
      });
  });

  it('before 1.54 a MAC address at connect is not heeded, before 1.48 no priority', async () => {
    await create({ Name: 'n' });
    await made('con');
    const EndpointConfig = { MacAddress: '02:42:ac:11:00:09', GwPriority: 5 };
    await join('n', { Container: 'con', EndpointConfig }, '1.47');
    expect(await place('con', 'n')).toMatchObject({ MacAddress: '', GwPriority: 0 });
  });

  it('leaves none before it joins another network', async () => {
    await create({ Name: 'n' });
    await made('con', { HostConfig: { NetworkMode: 'none' } });
    expect(await place('con', 'none')).toMatchObject({ NetworkID: '' });
    expect((await join('n', { Container: 'con' })).status).toBe(400);
    expect((await leave('none', { Container: 'con' })).status).toBe(200);
    expect((await container('con')).NetworkSettings.Networks).toEqual({});
    expect((await join('n', { Container: 'con' })).status).toBe(200);
    expect((await join('none', { Container: 'con' })).status).toBe(400);
    expect((await leave('n', { Container: 'con' })).status).toBe(200);
    expect((await join('none', { Container: 'con' })).status).toBe(200);
    await engine.call('POST', '/containers/con/start');
    const { Containers } = await shown('none');
    expect(Object.values(Containers)).toEqual([expect.objectContaining({ Name: 'con', IPv4Address: '' })]);
  });

  it('that an earlier version noted to have left its network starts without it', async () => {
    await made('con');
    const { id } = engine.portLayer.exec.resolve('con').spec;
    await engine.portLayer.exec.annotate(id, { 'docker.left': 'bridge' });
    expect((await container('con')).NetworkSettings.Networks).toEqual({});
    expect((await engine.call('POST', '/containers/con/start')).status).toBe(204);
    expect((await container('con')).NetworkSettings.Networks).toEqual({});
    expect((await join('bridge', { Container: 'con' })).status).toBe(200);
    expect(Object.keys((await container('con')).NetworkSettings.Networks)).toEqual(['bridge']);
  });
});

describe('prune', () => {
  const prune = async (filters: object = {}) =>
    (await engine.call('POST', `/networks/prune?filters=${encodeURIComponent(JSON.stringify(filters))}`)).json;

  it('removes what no running container is on', async () => {
    await create({ Name: 'n' });
    await create({ Name: 'm', Labels: { keep: '' } });
    await create({ Name: 'used' });
    await made('con', { HostConfig: { NetworkMode: 'used' } });
    await engine.call('POST', '/containers/con/start');
    expect(await prune({ 'label!': ['keep'] })).toEqual({ NetworksDeleted: ['n'] });
    expect(await prune({ until: ['24h'] })).toEqual({ NetworksDeleted: null });
    expect(await prune()).toEqual({ NetworksDeleted: ['m'] });
    expect(await networks({ type: ['custom'] })).toEqual(['used']);
  });

  it('tells what it removes one by one, since 1.56', async () => {
    await create({ Name: 'n' });
    const { text } = await engine.call('POST', '/v1.56/networks/prune?stream=1');
    expect(
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([{ status: 'deleted', id: 'n' }, { aux: { NetworksDeleted: ['n'] } }]);
  });
});
