/** The routes of `docker cp` over fixed files. */
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { goFileMode, pathStatHeader } from '../../../appliance/docker/containers/path-stat.js';
import { startTestEngine, type TestEngine } from '../../support/docker-engine.js';

let engine: TestEngine;
let id: string;

beforeAll(async () => {
  engine = await startTestEngine();
  const created = await engine.call('POST', '/containers/create?name=box', { Image: 'busybox' });
  id = created.json.Id;
});

afterAll(() => engine?.close());

const archive = (path: string): string => `/v1.51/containers/box/archive?path=${encodeURIComponent(path)}`;
const statOf = (header: unknown): unknown => JSON.parse(Buffer.from(String(header), 'base64').toString());

describe('HEAD and GET archive', () => {
  it("answer with the path's stat, its mode as Go has it", async () => {
    const head = await engine.call('HEAD', archive('/tmp'));
    expect(head.status).toBe(200);
    expect(statOf(head.headers['x-docker-container-path-stat'])).toEqual({
      name: 'tmp',
      size: 4096,
      mode: 2 ** 31 + 2 ** 20 + 0o777,
      mtime: '1970-01-01T00:00:00.12Z',
      linkTarget: '',
    });
    const got = await engine.call('GET', archive('/link'));
    expect(got.headers['content-type']).toBe('application/x-tar');
    expect(statOf(got.headers['x-docker-container-path-stat'])).toMatchObject({ linkTarget: '/etc' });
    expect(got.text).toHaveLength(2048);
  });

  it.each([
    [archive('/nope'), 404, 'Could not find the file /nope in container box'],
    [archive(''), 400, 'bad parameter: pathcannot be empty'],
    ['/containers/box/archive', 400, 'bad parameter: pathcannot be empty'],
    ['/containers/nosuch/archive?path=/etc', 404, 'No such container: nosuch'],
  ])('%s is refused', async (path, status, message) => {
    expect(await engine.call('GET', path)).toMatchObject({ status, json: { message } });
    expect((await engine.call('HEAD', path)).status).toBe(status);
  });

  it('break the connection when the archive fails midway', async () => {
    engine.portLayer.files.breakOff = true;
    await expect(engine.call('GET', archive('/etc'))).rejects.toThrow(/aborted|hang up|reset/);
    engine.portLayer.files.breakOff = false;
  });
});

describe('PUT archive', () => {
  it('passes on the options and the plain archive, however it was compressed', async () => {
    const tar = Buffer.alloc(3000, 'tar');
    for (const body of [tar, gzipSync(tar)]) {
      const answer = await fetch(
        `http://127.0.0.1:${engine.port}${archive('/etc')}&noOverwriteDirNonDir=true&copyUIDGID=1`,
        { method: 'PUT', body },
      );
      expect(answer.status).toBe(200);
      expect(engine.portLayer.files.extracted.pop()).toEqual({
        path: '/etc',
        bytes: tar,
        options: { keepKind: true, asUser: true },
      });
    }
  });

  it('answers with errors even when the body was not read', async () => {
    const answer = await fetch(`http://127.0.0.1:${engine.port}${archive('/nope')}`, {
      method: 'PUT',
      body: Buffer.alloc(4 << 20),
    });
    expect(answer.status).toBe(404);
    expect(await answer.json()).toEqual({ message: 'Could not find the file /nope in container box' });
  });

  it('refuses damaged compression', async () => {
    const body = gzipSync(Buffer.alloc(100_000, 'x')).fill(0, 20, 40);
    const answer = await fetch(`http://127.0.0.1:${engine.port}${archive('/etc')}`, { method: 'PUT', body });
    expect(answer.status).toBe(500);
  });
});

describe('changes and export', () => {
  it('are null when there are none, and have numeric kinds', async () => {
    expect((await engine.call('GET', '/containers/box/changes')).text).toBe('null\n');
    engine.portLayer.files.changed = [
      { kind: 'modified', path: '/etc' },
      { kind: 'added', path: '/etc/größe' },
      { kind: 'deleted', path: '/gone' },
    ];
    expect((await engine.call('GET', '/containers/box/changes')).json).toEqual([
      { Path: '/etc', Kind: 0 },
      { Path: '/etc/größe', Kind: 1 },
      { Path: '/gone', Kind: 2 },
    ]);
  });

  it('export streams bytes', async () => {
    const answer = await engine.call('GET', '/containers/box/export');
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': 'application/octet-stream' } });
    for (const path of ['changes', 'export'])
      expect(await engine.call('GET', `/containers/nosuch/${path}`)).toMatchObject({ status: 404 });
  });
});

it('publishes the events of cp', async () => {
  const { Id } = (await engine.call('GET', '/containers/box/json')).json;
  expect(Id).toBe(id);
  const until = Math.ceil(Date.now() / 1000) + 1;
  const events = await engine.call('GET', `/events?since=0&until=${until}`);
  const actions = events.text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).Action);
  expect(actions).toContain('archive-path');
  expect(actions).toContain('extract-to-dir');
});

describe('a path stat', () => {
  it.each([
    [0o040755, 2147484141],
    [0o120777, 134218239],
    [0o010644, 33554852],
    [0o104755, 8389101],
    [0o041777, 2148532735],
    [0o020666, 2 ** 26 + 2 ** 21 + 0o666],
    [0o102755, 2 ** 22 + 0o755],
  ])('has mode %o as %i', (mode, expected) => expect(goFileMode(mode)).toBe(expected));

  it('has times before 1970', () => {
    const header = pathStatHeader({ name: 'a', size: 0, mode: 0, mtime: { sec: -1, nsec: 5 }, linkTarget: '' });
    expect(statOf(header)).toMatchObject({ mtime: '1969-12-31T23:59:59.000000005Z' });
  });
});
