import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestEngine, type TestEngine } from '../../support/docker-engine.js';
import { fakeImage } from '../../support/fake-image-service.js';

let engine: TestEngine;
beforeAll(async () => {
  engine = await startTestEngine();
});
afterAll(() => engine.close());

const prune = (what: string, filters: object = {}) =>
  engine.call('POST', `/${what}/prune?filters=${encodeURIComponent(JSON.stringify(filters))}`);
const create = async (name: string, Labels: object = {}): Promise<string> =>
  (await engine.call('POST', `/containers/create?name=${name}`, { Image: 'busybox', Cmd: ['sleep', '60'], Labels }))
    .json.Id;

describe('pruning containers', () => {
  it('removes those that do not run, and reports the space freed', async () => {
    const running = await create('running');
    await engine.call('POST', '/containers/running/start');
    const [one, two] = [await create('one', { k: 'v' }), await create('two', { k: 'w' })];
    expect((await prune('containers', { until: ['10'] })).json).toEqual({ ContainersDeleted: null, SpaceReclaimed: 0 });
    expect((await prune('containers', { label: ['k'], 'label!': ['k=v', 'x'], until: ['1h'] })).json).toEqual({
      ContainersDeleted: null,
      SpaceReclaimed: 0,
    });
    engine.portLayer.files.bytes = 70;
    expect((await prune('containers', { label: ['k'], 'label!': ['k=v'] })).json).toEqual({
      ContainersDeleted: [two],
      SpaceReclaimed: 70,
    });
    expect((await prune('containers')).json).toEqual({ ContainersDeleted: [one], SpaceReclaimed: 70 });
    expect(engine.portLayer.exec.list().map(({ spec }) => spec.id)).toEqual([running]);
    const until = (Date.now() / 1000 + 0.01).toFixed(3);
    const { text } = await engine.call('GET', `/v1.51/events?until=${until}&filters={"event":["prune"]}`);
    expect(JSON.parse(text.trim().split('\n').at(-1)!)).toMatchObject({
      status: 'prune',
      Type: 'container',
      Actor: { ID: '', Attributes: { reclaimed: '70' } },
    });
  });
});

describe('pruning images', () => {
  it('removes untagged ones, or all unused ones', async () => {
    engine.images.registry.set('other:1', fakeImage('other:1'));
    await engine.call('POST', '/images/create?fromImage=other&tag=1');
    expect((await prune('images')).json).toEqual({ ImagesDeleted: null, SpaceReclaimed: 0 });
    await create('user');
    const { json } = await prune('images', { dangling: ['false'] });
    expect(json.ImagesDeleted).toContainEqual({ Untagged: 'other:1' });
    expect(
      (await engine.call('GET', '/images/json')).json.map(({ RepoTags }: { RepoTags: string[] }) => RepoTags[0]),
    ).toEqual(['busybox:latest']);
  });
});

describe('kinds with nothing to remove', () => {
  it.each([
    ['networks', { NetworksDeleted: null }],
    ['volumes', { VolumesDeleted: [], SpaceReclaimed: 0 }],
    ['build', { CachesDeleted: null, SpaceReclaimed: 0 }],
  ])('%s: nothing is removed', async (what, answer) => {
    expect(await prune(what)).toMatchObject({ status: 200, json: answer });
  });
});

describe('filters', () => {
  it.each([
    ['containers', { foo: ['x'] }, "invalid filter 'foo'"],
    ['containers', { until: ['abc'] }, 'failed to parse value as time or duration: "abc"'],
    ['containers', { until: ['1', '2'] }, 'more than one until filter specified'],
    ['containers', { dangling: ['true'] }, "invalid filter 'dangling'"],
    ['images', { dangling: ['maybe'] }, "invalid filter 'dangling=[maybe]'"],
    ['images', { dangling: ['true', 'false'] }, "invalid filter 'dangling=[true false]'"],
    ['networks', { all: ['1'] }, "invalid filter 'all'"],
    ['volumes', { until: ['1h'] }, "invalid filter 'until'"],
    ['build', { foo: ['x'] }, "failed to prune build cache: invalid filter 'foo'"],
    [
      'build',
      { until: ['abc'] },
      'failed to prune build cache: "until" filter expects a duration (e.g., \'24h\') or a timestamp: failed to parse value as time or duration: "abc"',
    ],
  ])('%s %j: %s', async (what, filters, message) => {
    expect(await prune(what, filters)).toMatchObject({ status: 400, json: { message } });
  });
});

describe('GET /system/df', () => {
  it('reports the space that images and containers take', async () => {
    engine.portLayer.files.bytes = 1000;
    const { json } = await engine.call('GET', '/v1.51/system/df');
    expect(json).toMatchObject({ Volumes: [], BuildCache: [] });
    expect(json.Images[0]).toMatchObject({ RepoTags: ['busybox:latest'], SharedSize: 0 });
    expect(json.LayersSize).toBe(json.Images[0].Size);
    const { Size } = json.Images[0];
    expect(json.Containers[0]).toMatchObject({ Names: ['/user'], SizeRw: 1000, SizeRootFs: Size + 1000 });
  });

  it('reports only the requested kinds', async () => {
    expect((await engine.call('GET', '/v1.51/system/df?type=volume&type=build-cache')).json).toEqual({
      LayersSize: 0,
      Images: null,
      Containers: null,
      Volumes: [],
      BuildCache: [],
    });
    expect(await engine.call('GET', '/system/df?type=foo')).toMatchObject({
      status: 400,
      json: { message: 'unknown object type: foo' },
    });
  });

  it('sizes are in ps and inspect where requested', async () => {
    const [row] = (await engine.call('GET', '/containers/json?all=1&size=1')).json;
    expect(row).toMatchObject({ SizeRw: 1000 });
    engine.portLayer.files.bytes = 0;
    expect((await engine.call('GET', '/containers/json?all=1&size=1')).json[0]).not.toHaveProperty('SizeRw');
    expect((await engine.call('GET', '/containers/user/json?size=1')).json).toMatchObject({ SizeRw: 0 });
    expect((await engine.call('GET', '/containers/user/json')).json).not.toHaveProperty('SizeRw');
  });
});
