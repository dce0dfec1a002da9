import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { StorageReserve, storageLimits } from '../../../port-layer/storage/storage-reserve.js';
import { startTestEngine, type TestEngine } from '../../support/docker-engine.js';

let engine: TestEngine;
beforeAll(async () => {
  engine = await startTestEngine();
});
afterAll(() => engine.close());

describe('versions', () => {
  it('are negotiated by ping, in GET and HEAD', async () => {
    for (const method of ['GET', 'HEAD']) {
      const { status, headers, text } = await engine.call(method, '/_ping');
      expect(status).toBe(200);
      expect(text).toBe(method === 'GET' ? 'OK' : '');
      expect(headers).toMatchObject({
        'api-version': '1.56',
        'docker-experimental': 'false',
        ostype: 'linux',
        'builder-version': '1',
        'cache-control': 'no-cache, no-store, must-revalidate',
        pragma: 'no-cache',
        swarm: 'inactive',
        server: expect.stringMatching(/^Docker\/29\.\d+\.\d+\+caisson\.\d+\.\d+\.\d+ \(linux\)$/),
      });
    }
  });

  it.each([
    [
      '/v1.23/version',
      'client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version',
    ],
    ['/v1.57/version', 'client version 1.57 is too new. Maximum supported API version is 1.56'],
  ])('%s is refused', async (path, message) => {
    const answer = await engine.call('GET', path);
    expect(answer.status).toBe(400);
    expect(answer.json?.message ?? answer.text.trimEnd()).toBe(message);
    expect(answer.headers['api-version']).toBe('1.56');
  });

  it('clients from before JSON errors get plain text', async () => {
    const answer = await engine.call('GET', '/v1.23/version');
    expect(answer.headers['content-type']).toBe('text/plain; charset=utf-8');
    expect(answer.json).toBeUndefined();
  });

  it('an unknown path is not found in any version, and its answer reveals nothing about the engine', async () => {
    for (const path of ['/nosuch', '/v1.51/nosuch', '/v1.99/nosuch', '/v1.x/version', '/v1.51/version/', '/VERSION']) {
      const answer = await engine.call('GET', path);
      expect(answer).toMatchObject({ status: 404, json: { message: 'page not found' } });
      expect(answer.headers['api-version']).toBeUndefined();
    }
    expect((await engine.call('HEAD', '/version')).status).toBe(404);
    expect((await engine.call('OPTIONS', '/anything')).status).toBe(200);
  });

  it('a path that is not clean is redirected, with its query', async () => {
    const answer = await engine.call('GET', '/v1.51/containers//json?all=1');
    expect(answer).toMatchObject({ status: 301, headers: { location: '/v1.51/containers/json?all=1' } });
    expect((await engine.call('GET', '/containers/../version')).headers.location).toBe('/version');
    expect((await engine.call('GET', '/images/%zz/json')).status).toBe(400);
  });

  it.each(['', '/v1.24', '/v1.41', '/v1.51', '/v1.56'])('"%s" is served', async (prefix) => {
    const { json } = await engine.call('GET', `${prefix}/version`);
    expect(json).toMatchObject({ ApiVersion: '1.56', MinAPIVersion: '1.24', Os: 'linux', Arch: 'amd64' });
    expect(json.Components[0]).toMatchObject({ Name: 'Engine', Details: { ApiVersion: '1.56' } });
  });
});

describe('malformed requests', () => {
  it.each([
    ['GET', '/nosuch'],
    ['PUT', '/containers/json'],
    ['GET', '/v1.51'],
    ['GET', '/vx.1/info'],
  ])('%s %s: page not found', async (method, path) => {
    expect(await engine.call(method, path)).toMatchObject({ status: 404, json: { message: 'page not found' } });
  });

  it('a path that cannot be decoded', async () => {
    expect((await engine.call('GET', '/containers/%zz/json')).status).toBe(400);
  });

  it.each([
    ['{bad', {}, /^invalid JSON: /],
    ['[]', {}, /^invalid JSON: /],
    ['{"Image":5}', {}, /^invalid JSON: json: cannot unmarshal number into Go struct field \.Image of type string$/],
    [
      '{"HostConfig":{"Memory":"much"}}',
      {},
      /^invalid JSON: json: cannot unmarshal string into Go struct field \.HostConfig\.Memory of type int64$/,
    ],
    ['null', {}, /^config cannot be empty in order to create a container$/],
    [
      '{}',
      { 'content-type': 'text/plain' },
      /^unsupported Content-Type header \(text\/plain\): must be 'application\/json'$/,
    ],
  ])('the body %s', async (text, headers, message) => {
    const answer = await engine.call('POST', '/containers/create', text, headers);
    expect(answer.status).toBe(400);
    expect(answer.json.message).toMatch(message);
  });

  it('a body too large', async () => {
    const answer = await engine.call('POST', '/containers/create', JSON.stringify({ Image: 'x'.repeat(5 * 2 ** 20) }));
    expect(answer).toMatchObject({ status: 400, json: { message: 'request body too large' } });
  });

  it('a body without a content type, as a web page can send it', async () => {
    const answer = await fetch(`http://127.0.0.1:${engine.port}/containers/create`, {
      method: 'POST',
      body: new Blob(['{"Image":"busybox"}']),
    });
    expect(answer.status).toBe(400);
    expect(engine.portLayer.exec.list()).toEqual([]);
  });

  it.each([
    ['1.24', 0],
    ['1.32', 0],
    ['1.40', 0],
    ['1.41', 1],
    ['1.51', 1],
  ])('images of version %s by the old `filter` parameter', async (version, count) => {
    expect((await engine.call('GET', `/v${version}/images/json?filter=nosuch`)).json).toHaveLength(count);
    expect((await engine.call('GET', `/v${version}/images/json?filter=busyb*`)).json).toHaveLength(1);
  });

  it.each(['{bad', '[]', '"x"', '{"id":"x"}', '{"id":[1]}', '{"id":{"a":1}}'])('filters %s', async (text) => {
    const answer = await engine.call('GET', `/containers/json?filters=${encodeURIComponent(text)}`);
    expect(answer).toMatchObject({ status: 400, json: { message: 'invalid filter' } });
  });
});

/** Every endpoint of the Engine API 1.51 (its reference, in order) that the engine does not implement. */
const NOT_DONE = `
POST /build
GET /plugins/privileges; POST /plugins/pull
DELETE /plugins/x; POST /plugins/x/enable; POST /plugins/x/disable; POST /plugins/x/upgrade; POST /plugins/create
POST /plugins/x/push; POST /plugins/x/set
POST /session`
  .split(/[;\n]/)
  .map((one) => one.trim())
  .filter((one) => one !== '');

/** Endpoints that only swarm managers serve. */
const OF_A_SWARM = `
GET /nodes; GET /nodes/x; DELETE /nodes/x; POST /nodes/x/update; GET /swarm
POST /swarm/leave; POST /swarm/update; GET /swarm/unlockkey; POST /swarm/unlock; GET /services
POST /services/create; GET /services/x; DELETE /services/x; POST /services/x/update; GET /services/x/logs; GET /tasks; GET /tasks/x
GET /tasks/x/logs; GET /secrets; POST /secrets/create; GET /secrets/x; DELETE /secrets/x; POST /secrets/x/update; GET /configs
POST /configs/create; GET /configs/x; DELETE /configs/x; POST /configs/x/update`
  .split(/[;\n]/)
  .map((one) => one.trim())
  .filter((one) => one !== '');

describe('swarm and experimental endpoints', () => {
  it.each(OF_A_SWARM)('%s', async (endpoint) => {
    const [method = '', path = ''] = endpoint.split(' ');
    const answer = await engine.call(method, `/v1.51${path}`);
    expect(answer.status).toBe(503);
    expect(answer.json.message).toMatch(/^This node is not a swarm manager\. /);
  });

  it.each(['POST /swarm/init', 'POST /swarm/join'])('%s', async (endpoint) => {
    const [method = '', path = ''] = endpoint.split(' ');
    const answer = await engine.call(method, `/v1.51${path}`);
    expect(answer).toMatchObject({ status: 501, json: { message: expect.stringContaining('swarms') } });
  });

  it.each(['GET /containers/x/checkpoints', 'POST /containers/x/checkpoints', 'DELETE /containers/x/checkpoints/y'])(
    '%s',
    async (endpoint) => {
      const [method = '', path = ''] = endpoint.split(' ');
      const answer = await engine.call(method, `/v1.51${path}`);
      expect(answer.status).toBe(501);
      expect(answer.json.message).toMatch(/^This experimental feature is disabled by default\. /);
    },
  );
});

describe('endpoints that are not implemented', () => {
  it.each(NOT_DONE)('%s', async (endpoint) => {
    const [method = '', path = ''] = endpoint.split(' ');
    const answer = await engine.call(method, `/v1.51${path}`);
    expect(answer.status).toBe(501);
    if (method !== 'HEAD') expect(answer.json.message).toMatch(/is not implemented$/);
  });
});

describe('the engine', () => {
  it('warns of isolation that its host cannot provide', async () => {
    const { portLayer } = engine;
    const before = portLayer.hostInfo.bind(portLayer);
    expect((await engine.call('GET', '/info')).json.Warnings).toBeNull();
    portLayer.hostInfo = async () => ({ ...(await before()), lacks: ['Container networks: senders are not checked'] });
    const { json } = await engine.call('GET', '/info');
    portLayer.hostInfo = before;
    expect(json.Warnings).toEqual(['WARNING: Container networks: senders are not checked']);
  });

  it('on a vCenter says that containers are not found by name, and what keeps networks apart', async () => {
    const { network } = engine.portLayer;
    const made = await engine.call('POST', '/networks/create', { Name: 'apart' });
    network.ownHost = false;
    try {
      const on = (NetworkMode: string) => ({ Image: 'busybox', HostConfig: { NetworkMode } });
      const named = await engine.call('POST', '/containers/create', on('apart'));
      const warning =
        'Containers on network apart do not find each other by name: this vSphere host has no name server for them';
      expect([made.status, named.status, named.json.Warnings]).toEqual([201, 201, [warning]]);
      const rate = { 'caisson.egress-rate': '10mbit' };
      const refusals = await Promise.all([
        engine.call('POST', '/networks/create', { Name: 'slow', Options: rate }),
        engine.call('POST', '/containers/create', {
          ...on('apart'),
          NetworkingConfig: { EndpointsConfig: { apart: { DriverOpts: rate } } },
        }),
      ]);
      expect(refusals.map(({ status }) => status)).toEqual([501, 501]);
      const plain = await engine.call('POST', '/containers/create', on('bridge'));
      expect(plain.json.Warnings).toEqual([]);
      const { DriverStatus } = (await engine.call('GET', '/info')).json as { DriverStatus: [string, string][] };
      expect(new Map(DriverStatus).get('New networks')).toMatch(/^share the port group .*; packet filters/);
      for (const { json } of [named, plain]) await engine.call('DELETE', `/containers/${json.Id}`);
    } finally {
      network.ownHost = true;
      await engine.call('DELETE', '/networks/apart');
    }
  });

  it('tells how much of their quotas images, and everything, take', async () => {
    expect((await engine.call('GET', '/info')).text).not.toContain('Space of images');
    engine.portLayer.room = new StorageReserve({}, storageLimits({ imageQuotaGiB: 2 }), () => 5e8);
    const { DriverStatus } = (await engine.call('GET', '/info')).json;
    expect(DriverStatus).toContainEqual(['Space of images', '500MB of 2.147GB used']);
    const others = async () => ({ containers: 2e8, volumes: 1e8 });
    engine.portLayer.room = new StorageReserve({}, storageLimits({ quota: '1GiB' }), () => 5e8, others);
    const { DriverStatus: both } = (await engine.call('GET', '/info')).json;
    const words = '800MB of 1.074GB used: images 500MB, containers 200MB, volumes 100MB';
    expect(both).toContainEqual(['Storage quota', words]);
  });

  it('describes itself', async () => {
    const { json } = await engine.call('GET', '/info');
    expect(json).toMatchObject({
      OSType: 'linux',
      NCPU: 2,
      MemTotal: 4 * 2 ** 30,
      Name: 'test',
      Images: 1,
      Containers: 0,
    });
  });

  it('has the networks bridge, host and none, no volumes and no plugins', async () => {
    const { json: networks } = await engine.call('GET', '/networks');
    expect(networks).toMatchObject([
      { Name: 'bridge', Driver: 'bridge', Scope: 'local', IPAM: { Config: [{ Subnet: '172.16.0.0/16' }] } },
      { Name: 'host', Driver: 'host', Scope: 'local', Containers: {} },
      { Name: 'none', Driver: 'null', Scope: 'local', IPAM: { Config: null } },
    ]);
    expect((await engine.call('GET', '/networks/bridge')).json.Id).toBe(networks[0].Id);
    expect(await engine.call('GET', '/networks/nosuch')).toMatchObject({
      status: 404,
      json: { message: 'network nosuch not found' },
    });
    expect((await engine.call('GET', '/volumes')).json).toEqual({ Volumes: [], Warnings: null });
    expect(await engine.call('GET', '/volumes/v')).toMatchObject({
      status: 404,
      json: { message: 'get v: no such volume' },
    });
    expect((await engine.call('GET', '/plugins')).json).toEqual([]);
    expect((await engine.call('GET', '/volumes?filters={"foo":["x"]}')).status).toBe(400);
  });
});
