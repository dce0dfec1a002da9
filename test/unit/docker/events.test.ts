import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { EventBus } from '../../../appliance/docker/events/event-bus.js';
import { passes } from '../../../appliance/docker/events/event-filters.js';
import { startTestEngine, type TestEngine } from '../../support/docker-engine.js';
import { fakeImage } from '../../support/fake-image-service.js';
import { rawRequest } from '../../support/raw-http.js';

interface Event {
  status?: string;
  id?: string;
  from?: string;
  Type: string;
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
  scope: string;
  time: number;
  timeNano: number;
}

let engine: TestEngine;
beforeAll(async () => {
  engine = await startTestEngine();
});
afterAll(() => engine.close());

const past = async (query = ''): Promise<Event[]> => {
  const { text } = await engine.call(
    'GET',
    `/v1.51/events?since=1&until=${(Date.now() / 1000 + 0.01).toFixed(3)}${query}`,
  );
  return text
    .trim()
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Event);
};
const create = (name: string, body: object) =>
  engine.call('POST', `/containers/create?name=${name}`, { Image: 'busybox', ...body });

describe('events', () => {
  it('of a container’s life, in Docker’s order and form', async () => {
    const { json } = await create('aa', {
      Cmd: ['sh', '-c', 'trap "" TERM; sleep 60 & wait; sleep 60'],
      Labels: { k: 'v' },
    });
    await engine.call('POST', '/containers/aa/start');
    const exec = await engine.call('POST', '/containers/aa/exec', { Cmd: ['true'] });
    await engine.call('POST', `/exec/${exec.json.Id}/start`, { Detach: true });
    await expect.poll(async () => (await past()).map(({ Action }) => Action)).toContain('exec_die');
    await engine.call('POST', '/containers/aa/stop?t=0');
    await engine.call('POST', '/containers/aa/rename?name=zz');
    await engine.call('DELETE', '/containers/zz');
    const events = await past('&filters={"container":["aa","zz"]}');
    expect(events.map(({ Action }) => Action)).toEqual([
      'create',
      'start',
      'exec_create: true ',
      'exec_start: true ',
      'exec_die',
      'kill',
      'kill',
      'die',
      'stop',
      'rename',
      'destroy',
    ]);
    const die = events[7]!;
    expect(die).toMatchObject({
      status: 'die',
      id: json.Id,
      from: 'busybox',
      Type: 'container',
      scope: 'local',
      Actor: {
        ID: json.Id,
        Attributes: {
          k: 'v',
          image: 'busybox',
          name: 'aa',
          exitCode: '137',
          execDuration: expect.stringMatching(/^\d+$/),
        },
      },
    });
    expect(Math.floor(die.timeNano / 1e9)).toBe(die.time);
    expect(events[4]!.Actor.Attributes).toMatchObject({ execID: exec.json.Id, exitCode: '0' });
    expect(events.slice(5, 7).map(({ Actor }) => Actor.Attributes.signal)).toEqual(['15', '9']);
    expect(events[9]!.Actor.Attributes).toMatchObject({ name: 'zz', oldName: '/aa' });
    expect((await past('&filters={"type":["network"]}')).map(({ Action }) => Action)).toEqual([
      'connect',
      'disconnect',
    ]);
    expect(await past('&filters={"label":["k=v"],"event":["exec_create"]}')).toHaveLength(1);
    expect(await past('&filters={"label":["k=w"]}')).toEqual([]);
    expect(await past('&filters={"event":["die"],"type":["image"]}')).toEqual([]);
  });

  it('a failed start is not a death', async () => {
    await create('ff', { Cmd: ['nosuch'] });
    await engine.call('POST', '/containers/ff/start');
    expect((await past('&filters={"container":["ff"]}')).map(({ Action }) => Action)).toEqual(['create']);
  });

  it('of images', async () => {
    engine.images.registry.set('other:1', fakeImage('other:1'));
    await engine.call('POST', '/images/create?fromImage=other&tag=1');
    await engine.call('POST', '/images/other:1/tag?repo=third');
    await engine.call('DELETE', '/images/third');
    expect((await past('&filters={"type":["image"]}')).map(({ Action }) => Action)).toEqual([
      'pull',
      'tag',
      'untag',
      'delete',
    ]);
    expect((await past('&filters={"image":["other:1"],"event":["pull"]}'))[0]).toMatchObject({
      status: 'pull',
      id: 'other:1',
      Actor: { ID: 'other:1', Attributes: { name: 'other:1' } },
    });
  });

  it('come as they happen, until the requested time', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
    try {
      const [since, until] = [0, 60].map((seconds) => (Date.now() / 1000 + seconds).toFixed(3));
      const path = `/events?since=${since}&until=${until}&filters={"event":["create"]}`;
      const listening = request({ agent: false, host: '127.0.0.1', port: engine.port, path }).end();
      const [response] = (await once(listening, 'response')) as [IncomingMessage];
      let text = '';
      response.on('data', (part) => {
        text += part;
      });
      const ended = once(response, 'end');
      await create('live', {});
      await expect.poll(() => text).toContain('\n');
      vi.advanceTimersByTime(59_000);
      await create('late', {});
      await expect.poll(() => text.trim().split('\n')).toHaveLength(2);
      vi.advanceTimersByTime(1_001);
      await ended;
      const events = text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Event);
      expect(events.map(({ Actor }) => Actor.Attributes.name)).toEqual(['live', 'late']);
    } finally {
      vi.useRealTimers();
    }
  });

  it('that are kept are sent without `since` if there is an `until`', async () => {
    const until = (Date.now() / 1000).toFixed(3);
    expect((await engine.call('GET', `/events?until=${until}`)).text).toContain('"Action":"create"');
  });

  it.each([
    [{ container: ['fil'] }, true],
    [{ container: ['abc'] }, true],
    [{ container: ['ter'] }, false],
    [{ container: ['x', 'filter'] }, true],
    [{ image: ['busybox'] }, true],
    [{ image: ['busybox:1'] }, true],
    [{ image: ['busy'] }, false],
    [{ event: ['exec_create'] }, true],
    [{ event: ['exec_create: sh -c x'] }, true],
    [{ event: ['exec_crea'] }, false],
    [{ event: ['exec_crea', 'health_status'] }, true],
    [{ type: ['container'], scope: ['local'] }, true],
    [{ scope: ['swarm'] }, false],
    [{ daemon: ['x'] }, false],
    [{ label: ['a'] }, true],
    [{ label: ['a=b', 'c'] }, false],
    [{ label: ['exitCode=3'] }, true],
  ])('%j: %s', (filters, passed) => {
    const bus = new EventBus();
    const attributes = { image: 'busybox:1', name: 'filter', a: 'b', exitCode: '3' };
    bus.publish('container', 'exec_create: sh -c x', 'abcdef', attributes);
    expect(passes(bus.past(null, null)[0]!, new Map(Object.entries(filters)))).toBe(passed);
  });

  it.each([
    ['since=x', 'strconv.ParseInt: parsing "x": invalid syntax'],
    ['until=5m', 'strconv.ParseInt: parsing "5m": invalid syntax'],
    ['since=5&until=4', '`since` time (5) cannot be after `until` time (4)'],
  ])('%s is refused', async (query, message) => {
    expect(await engine.call('GET', `/events?${query}`)).toMatchObject({ status: 400, json: { message } });
  });

  it('end when the client closes its side, even after an unexpected body', async () => {
    for (const body of [undefined, { not: 'asked for' }]) {
      const { socket, status, rest } = await rawRequest(engine.port, '/events', {
        method: 'GET',
        upgrade: false,
        body,
      });
      expect(status).toBe(200);
      socket.end();
      await rest;
    }
  });

  it('are kept up to a limit', () => {
    const bus = new EventBus();
    for (let i = 0; i < 1000; i++) bus.publish('container', `e${i}`, 'id', {});
    const kept = bus.past(0n, null);
    expect(kept).toHaveLength(256);
    expect(kept.at(-1)?.Action).toBe('e999');
  });
});
