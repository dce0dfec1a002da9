import { randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { streamType } from '../../../appliance/docker/http/stream-type.js';
import { sendOutput } from '../../../appliance/docker/streams/connect-streams.js';
import { DetachFilter, parseDetachKeys } from '../../../appliance/docker/streams/detach-keys.js';
import { frame } from '../../../appliance/docker/streams/frames.js';
import { formatTime, parseTime } from '../../../appliance/docker/values/timestamps.js';
import type { OutputChunk } from '../../../port-layer/index.js';
import { makeCertificates } from '../../../src/cli/certificates.js';
import { startTestEngine } from '../../support/docker-engine.js';
import { demultiplex, rawRequest } from '../../support/raw-http.js';
import { sharedEngine } from '../../support/shared-engine.js';

const engine = sharedEngine();

const create = (name: string, body: object) =>
  engine.call('POST', `/containers/create?name=${name}`, { Image: 'busybox', ...body });
const start = (name: string) => engine.call('POST', `/containers/${name}/start`);
const state = async (name: string): Promise<string> =>
  (await engine.call('GET', `/containers/${name}/json`)).json.State.Status;
const attach = (name: string, query = 'stream=1&stdin=1&stdout=1&stderr=1', options = {}) =>
  rawRequest(engine.port, `/containers/${name}/attach?${query}`, options);
async function exec(body: object, start: object = {}, options = {}) {
  const { json } = await engine.call('POST', '/containers/box/exec', body);
  return {
    id: json.Id as string,
    answer: await rawRequest(engine.port, `/exec/${json.Id}/start`, { body: start, ...options }),
  };
}

describe('attach', () => {
  it('before the start: every byte, both streams, in frames', async () => {
    await create('con', { Cmd: ['sh', '-c', 'echo out; echo err >&2'] });
    const { status, head, rest } = await attach('con');
    expect(status).toBe(101);
    expect(head).toMatch(
      /^HTTP\/1.1 101 UPGRADED\r\nContent-Type: application\/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp$/,
    );
    await start('con');
    expect(demultiplex(await rest)).toEqual({ stdout: 'out\n', stderr: 'err\n' });
  });

  it('passes on input, and with StdinOnce also its end', async () => {
    await create('con', { Cmd: ['cat'], OpenStdin: true, StdinOnce: true });
    const { socket, rest } = await attach('con');
    await start('con');
    const input = 'x'.repeat(300_000);
    socket.end(input);
    expect(demultiplex(await rest).stdout).toBe(input);
    await expect.poll(() => state('con')).toBe('exited');
  });

  it('without StdinOnce, the end of input detaches', async () => {
    await create('con', { Cmd: ['cat'], OpenStdin: true });
    await start('con');
    const { socket, rest, received } = await attach('con');
    socket.write('hello\n');
    await expect.poll(() => received().length).toBe(14);
    socket.end();
    await rest;
    expect(await state('con')).toBe('running');
    const again = await attach('con');
    again.socket.write('again\n');
    await expect.poll(() => again.received().length).toBe(14);
    again.socket.destroy();
  });

  it('on a terminal is raw, and ends with the detach keys', async () => {
    await create('con', { Cmd: ['cat'], OpenStdin: true, Tty: true });
    await start('con');
    for (const [query, keys] of [
      ['', '\x10\x11'],
      ['&detachKeys=ctrl-a,x', '\x01x'],
    ]) {
      const { head, socket, rest, received } = await attach('con', `stream=1&stdin=1&stdout=1&stderr=1${query}`);
      expect(head).toContain('Content-Type: application/vnd.docker.raw-stream');
      socket.write('typed\n');
      await expect.poll(() => received().toString()).toContain('typed\r\n');
      socket.write(keys!);
      await rest;
    }
    expect(await state('con')).toBe('running');
    const detached = engine.engine.events.past(0n, null).filter(({ Action }) => Action === 'detach');
    expect(detached).toHaveLength(2);
    const refused = await attach('con', 'stream=1&stdin=1&detachKeys=foo');
    expect(refused.status).toBe(400);
    expect(refused.head).toContain('Content-Type: application/vnd.docker.raw-stream');
    expect((await refused.rest).toString()).toBe('Invalid detach keys (foo) provided\r\n');
  });

  it('without Upgrade: the stream is the rest of the connection, unchunked', async () => {
    await create('con', { Cmd: ['sh', '-c', 'echo out; sleep 0.2; echo err >&2'], OpenStdin: true, StdinOnce: true });
    await start('con');
    const { status, head, rest } = await attach('con', 'stream=1&logs=1&stdin=1&stdout=1&stderr=1', { upgrade: false });
    expect(status).toBe(200);
    expect(head).toContain('Content-Type: application/vnd.docker.raw-stream');
    expect(head).not.toMatch(/chunked/i);
    expect(demultiplex(await rest)).toEqual({ stdout: 'out\n', stderr: 'err\n' });
  });

  it.each([true, false])('takes input, and its end at any time after the head (Upgrade: %s)', async (upgrade) => {
    await create('con', { Cmd: ['sh', '-c', 'cat; echo over'], OpenStdin: true, StdinOnce: true });
    const { socket, rest } = await attach('con', 'stream=1&stdin=1&stdout=1', { upgrade });
    socket.end('typed\n');
    await new Promise((resolve) => setTimeout(resolve, 50));
    await start('con');
    expect(demultiplex(await rest).stdout).toBe('typed\nover\n');
  });

  it('without any stream ends at once', async () => {
    await create('con', { Cmd: ['sleep', '60'] });
    await start('con');
    expect(await (await attach('con', 'stream=1')).rest).toHaveLength(0);
  });

  it('gives only what was asked for', async () => {
    await create('con', { Cmd: ['sh', '-c', 'echo out; echo err >&2'] });
    const { rest } = await attach('con', 'stream=1&stderr=1');
    await start('con');
    expect(demultiplex(await rest)).toEqual({ stdout: '', stderr: 'err\n' });
    expect(demultiplex(await (await attach('con', 'logs=1&stdout=1')).rest)).toEqual({ stdout: 'out\n', stderr: '' });
  });

  it('to a missing container is an error in plain text, and older versions get the older content type', async () => {
    const none = await attach('nosuch', 'stream=1&stdout=1', { upgrade: false });
    expect(none.status).toBe(404);
    expect((await none.rest).toString()).toBe('No such container: nosuch\r\n');
    await create('con', { Cmd: ['true'] });
    const { head, socket } = await rawRequest(engine.port, '/v1.41/containers/con/attach?stream=1&stdout=1');
    expect(head).toContain('Content-Type: application/vnd.docker.raw-stream');
    socket.destroy();
  });
});

describe('exec', () => {
  it.each([true, false])('whose client ends its input at once (Upgrade: %s)', async (upgrade) => {
    await create('box', { Cmd: ['sleep', '60'] });
    await start('box');
    const { json } = await engine.call('POST', '/containers/box/exec', {
      Cmd: ['sh', '-c', 'cat; echo over'],
      AttachStdin: true,
      AttachStdout: true,
    });
    const { interaction } = engine.portLayer;
    const { execStart } = interaction;
    const slow = vi.spyOn(interaction, 'execStart').mockImplementation(async (...args) => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      return execStart.apply(interaction, args);
    });
    const { socket, rest } = await rawRequest(engine.port, `/exec/${json.Id}/start`, { body: {}, upgrade });
    socket.end();
    expect(demultiplex(await rest).stdout).toBe('over\n');
    slow.mockRestore();
  });

  it('streams, and gives its exit code', async () => {
    await create('box', { Cmd: ['sleep', '60'], Env: ['A=1'] });
    await start('box');
    const { id, answer } = await exec({
      Cmd: ['sh', '-c', 'echo $A $B; cat >&2; exit 4'],
      AttachStdin: true,
      AttachStdout: true,
      AttachStderr: true,
      Env: ['B=2'],
    });
    expect(answer.status).toBe(101);
    answer.socket.end('in');
    expect(demultiplex(await answer.rest)).toEqual({ stdout: '1 2\n', stderr: 'in' });
    expect((await engine.call('GET', `/exec/${id}/json`)).json).toMatchObject({
      ID: id,
      Running: false,
      ExitCode: 4,
      OpenStdin: true,
      ProcessConfig: { entrypoint: 'sh', tty: false, privileged: false },
    });
    expect(await engine.call('POST', `/exec/${id}/start`, { Detach: true })).toMatchObject({
      status: 409,
      json: { message: `exec command ${id} has already run` },
    });
    const again = await rawRequest(engine.port, `/exec/${id}/start`, { body: {} });
    expect(again.status).toBe(101);
    expect(demultiplex(await again.rest).stdout).toBe(`exec command ${id} has already run\r\n`);
  });

  it('that cannot be started says so on its stream, or with an error when detached', async () => {
    await create('box', { Cmd: ['sleep', '60'] });
    await start('box');
    const message =
      'OCI runtime exec failed: exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH';
    const { id, answer } = await exec({ Cmd: ['nosuch'], AttachStdout: true });
    expect(demultiplex(await answer.rest).stdout).toBe(`${message}\r\n`);
    expect((await engine.call('GET', `/exec/${id}/json`)).json.ExitCode).toBe(127);
    const { json } = await engine.call('POST', '/containers/box/exec', { Cmd: ['nosuch'] });
    expect(await engine.call('POST', `/exec/${json.Id}/start`, { Detach: true })).toMatchObject({
      status: 400,
      json: { message },
    });
  });

  it('on a terminal: raw, resized, detached with its own keys', async () => {
    await create('box', { Cmd: ['sleep', '60'] });
    await start('box');
    const { id, answer } = await exec(
      { Cmd: ['cat'], AttachStdin: true, AttachStdout: true, Tty: true, DetachKeys: 'ctrl-b' },
      { Tty: true },
    );
    expect((await engine.call('POST', `/exec/${id}/resize?h=3&w=4`)).status).toBe(200);
    expect(engine.portLayer.interaction.sizes.at(-1)).toEqual({ id, rows: 3, cols: 4 });
    answer.socket.write('t\n');
    await expect.poll(() => answer.received().toString()).toContain('t\r\n');
    answer.socket.write('\x02');
    await answer.rest;
    expect((await engine.call('GET', `/exec/${id}/json`)).json.Running).toBe(true);
    expect((await engine.call('GET', '/containers/box/json')).json.ExecIDs).toEqual([id]);
    expect((await engine.call('GET', `/exec/${id}/json`)).json.DetachKeys).toBe('Ag==');
  });

  it('is framed as the client’s Accept header asks', async () => {
    await create('box', { Cmd: ['sleep', '60'] });
    await start('box');
    const process = { Cmd: ['sh', '-c', 'echo out; echo err >&2'], AttachStdout: true, AttachStderr: true };
    const raw = await exec(process, { Tty: true });
    expect(raw.answer.head).toContain('vnd.docker.raw-stream');
    expect((await raw.answer.rest).toString()).toBe('out\n');
    const plain = await exec(process, {}, { upgrade: false });
    expect(plain.answer.status).toBe(200);
    expect(demultiplex(await plain.answer.rest)).toEqual({ stdout: 'out\n', stderr: 'err\n' });
  });

  it('is refused with Docker’s messages', async () => {
    await create('box', { Cmd: ['sleep', '60'] });
    const { Id } = (await engine.call('GET', '/containers/box/json')).json;
    expect(await engine.call('POST', '/containers/box/exec', { Cmd: ['x'] })).toMatchObject({
      status: 409,
      json: { message: `container ${Id} is not running` },
    });
    await start('box');
    expect(await engine.call('POST', '/containers/box/exec', {})).toMatchObject({
      status: 400,
      json: { message: 'No exec command specified' },
    });
    expect(await engine.call('POST', '/containers/box/exec', { Cmd: ['x'], DetachKeys: 'foo' })).toMatchObject({
      status: 400,
      json: { message: 'Invalid escape keys (foo) provided' },
    });
    expect(await engine.call('GET', '/exec/nosuch/json')).toMatchObject({
      status: 404,
      json: { message: 'No such exec instance: nosuch' },
    });
  });
});

describe('logs', () => {
  it('by stream, tail and time, and with timestamps', async () => {
    await create('con', { Cmd: ['sh', '-c', 'echo 1; echo e >&2; sleep 0.1; echo 2; printf 3'] });
    await start('con');
    await engine.call('POST', '/containers/con/wait');
    const logs = async (query: string): Promise<{ stdout: string; stderr: string }> => {
      const answer = await fetch(`http://127.0.0.1:${engine.port}/containers/con/logs?${query}`);
      expect(answer.headers.get('content-type')).toBe('application/vnd.docker.multiplexed-stream');
      return demultiplex(Buffer.from(await answer.arrayBuffer()));
    };
    expect(await logs('stdout=1&stderr=1')).toEqual({ stdout: '1\n2\n3', stderr: 'e\n' });
    expect(await logs('stdout=1&tail=2')).toEqual({ stdout: '2\n3', stderr: '' });
    expect(await logs('stdout=1&tail=all&since=0')).toEqual({ stdout: '1\n2\n3', stderr: '' });
    expect(await logs(`stdout=1&since=${Math.floor(Date.now() / 1000) + 60}`)).toEqual({ stdout: '', stderr: '' });
    expect(await logs('stdout=1&tail=-1')).toEqual({ stdout: '1\n2\n3', stderr: '' });
    expect((await logs('stdout=1&details=1')).stdout).toBe(' 1\n 2\n 3');
    expect((await logs('stdout=1&details=1&timestamps=1&tail=1')).stdout).toMatch(/Z {2}3$/);
    expect((await engine.call('GET', '/containers/con/logs?stdout=1&since=10m')).json).toEqual({
      message: 'strconv.ParseInt: parsing "10m": invalid syntax',
    });
    expect(await logs('stdout=1&until=5')).toEqual({ stdout: '', stderr: '' });
    expect((await logs('stdout=1&timestamps=1')).stdout).toMatch(/^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z \d\n?){3}$/);
    expect(await engine.call('GET', '/containers/con/logs')).toMatchObject({
      status: 400,
      json: { message: 'Bad parameters: you must choose at least one stream' },
    });
  });

  it('follow to the end', async () => {
    await create('con', { Cmd: ['sh', '-c', 'for i in 1 2 3; do echo $i; sleep 0.1; done'] });
    await start('con');
    const answer = await fetch(`http://127.0.0.1:${engine.port}/containers/con/logs?stdout=1&follow=1`);
    expect(demultiplex(Buffer.from(await answer.arrayBuffer())).stdout).toBe('1\n2\n3\n');
  });
});

describe('over TLS', () => {
  it('clients need a certificate; the end of input does not end output; closing the server ends streams', async () => {
    const made = await makeCertificates('127.0.0.1', ['localhost'], 'test');
    const secure = await startTestEngine({ cert: made.serverCert, key: made.serverKey, clientCa: made.ca });
    const tls = { ca: made.ca, cert: made.clientCert, key: made.clientKey };
    try {
      await expect(rawRequest(secure.port, '/_ping', { method: 'GET', tls: { ca: made.ca } })).rejects.toThrow();
      const { spec } = await secure.portLayer.exec.create(
        await specOf({ Cmd: ['sh', '-c', 'cat; sleep 0.2; echo end'], OpenStdin: true, StdinOnce: true }),
      );
      const { socket, rest } = await rawRequest(
        secure.port,
        `/containers/${spec.id}/attach?stream=1&stdin=1&stdout=1`,
        { tls },
      );
      await secure.portLayer.exec.start(spec.id);
      socket.end('hello\n');
      expect(demultiplex(await rest).stdout).toBe('hello\nend\n');
      const waiting = await rawRequest(secure.port, `/containers/${spec.id}/attach?stream=1&stdout=1`, { tls });
      waiting.socket.on('error', () => undefined);
      await Promise.all([secure.close(), waiting.rest]);
    } finally {
      await secure.close().catch(() => undefined);
    }
  });
});

/** The record that create makes of a request. */
async function specOf(body: object) {
  const { json } = await create('template', body);
  const { spec } = engine.portLayer.exec.resolve(json.Id);
  await engine.call('DELETE', '/containers/template');
  return spec;
}

describe('the pieces', () => {
  it('output waits for a slow client and stops when it is gone', async () => {
    let produced = 0;
    const output = Readable.from(
      (function* (): Generator<OutputChunk> {
        for (;;) {
          produced++;
          yield { stream: 'stdout', timeNs: 0n, data: Buffer.alloc(1000), offset: 0 };
        }
      })(),
      { highWaterMark: 4 },
    );
    const client = new PassThrough({ highWaterMark: 10_000 });
    const sending = sendOutput(output, client, { multiplexed: false, stdout: true, stderr: true });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(produced).toBeLessThan(300);
    expect(client.listenerCount('close')).toBeLessThan(5);
    client.destroy();
    await sending;
    expect(output.destroyed).toBe(true);
  });

  it('frames', () => {
    expect(frame('stderr', Buffer.from('abc'))).toEqual(Buffer.from([2, 0, 0, 0, 0, 0, 0, 3, 97, 98, 99]));
    expect(streamType(true, '1.51')).toBe('application/vnd.docker.raw-stream');
    expect(streamType(false, '1.42')).toBe('application/vnd.docker.multiplexed-stream');
    expect(streamType(false, '1.41')).toBe('application/vnd.docker.raw-stream');
  });

  it('detach keys', () => {
    expect(parseDetachKeys('ctrl-p,ctrl-q')).toEqual([16, 17]);
    expect(parseDetachKeys('a,ctrl-@,ctrl-[,ctrl-_')).toEqual([97, 0, 27, 31]);
    for (const bad of ['foo', 'ctrl-A', 'ctrl-', 'ctrl-1', 'a,,b'])
      expect(() => parseDetachKeys(bad)).toThrow(`Invalid detach keys (${bad}) provided`);
  });

  it('input without the keys passes unchanged, however it is split', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 6 })), (parts) => {
        const all = Buffer.concat(parts);
        fc.pre(!all.includes(Buffer.from([1, 2])) && all.at(-1) !== 1);
        const filter = new DetachFilter([1, 2]);
        const passed = parts.map((part) => filter.push(Buffer.from(part)));
        expect(passed.some(({ detached }) => detached)).toBe(false);
        expect(Buffer.concat(passed.map(({ pass }) => pass))).toEqual(all);
      }),
    );
    const typed = new DetachFilter([1, 2]).push(Buffer.concat([randomBytes(0), Buffer.from([9, 1, 1, 2, 5])]));
    expect(typed).toEqual({ pass: Buffer.from([9, 1]), detached: true });
  });

  it('times', () => {
    expect(parseTime('1700000000.5')).toBe(1_700_000_000_500_000_000n);
    expect(parseTime('2024-05-01T10:00:00.123456789Z')).toBe(1_714_557_600_123_456_789n);
    expect(parseTime('1h30m', 6_000_000)).toBe(600_000_000_000n);
    expect(formatTime(1_714_557_600_000_000_001n)).toBe('2024-05-01T10:00:00.000000001Z');
    for (const bad of ['x', '1x', ''])
      expect(() => parseTime(bad)).toThrow('failed to parse value as time or duration');
  });
});
