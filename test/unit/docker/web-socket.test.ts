/** Attaching over a WebSocket, with a third-party client. */
import { describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { sharedEngine } from '../../support/shared-engine.js';

const engine = sharedEngine();

async function run(body: object, start = true): Promise<void> {
  await engine.call('POST', '/containers/create?name=con', { Image: 'busybox', ...body });
  if (start) await engine.call('POST', '/containers/con/start');
}

/** A connected client that records what it receives. */
async function open(query: string, version = '1.51') {
  const socket = new WebSocket(`ws://127.0.0.1:${engine.port}/v${version}/containers/con/attach/ws?${query}`);
  const messages: { data: Buffer; binary: boolean }[] = [];
  socket.on('message', (data: Buffer, binary) => messages.push({ data, binary }));
  const closed = new Promise<number>((resolve) => socket.once('close', resolve));
  await new Promise((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  return { socket, messages, closed, text: () => Buffer.concat(messages.map(({ data }) => data)).toString() };
}

describe('a WebSocket', () => {
  it('gives raw output in binary messages, and ends with the process', async () => {
    await run({ Cmd: ['sh', '-c', 'echo out; echo err >&2'] }, false);
    const client = await open('stream=1&stdout=1&stderr=1');
    await engine.call('POST', '/containers/con/start');
    expect(await client.closed).toBe(1000);
    expect(client.text().split('\n').sort()).toEqual(['', 'err', 'out']);
    expect(client.messages.every(({ binary }) => binary)).toBe(true);
  });

  it('gives the log, and a single stream', async () => {
    await run({ Cmd: ['sh', '-c', 'echo out; echo err >&2'] });
    await engine.call('POST', '/containers/con/wait');
    const client = await open('logs=1&stderr=1');
    await client.closed;
    expect(client.text()).toBe('err\n');
  });

  it('takes input; closing it ends stdin with StdinOnce', async () => {
    await run({ Cmd: ['cat'], OpenStdin: true, StdinOnce: true });
    const client = await open('stream=1&stdin=1&stdout=1');
    const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251));
    client.socket.send(bytes);
    await expect.poll(() => client.text().length).toBeGreaterThan(0);
    await expect.poll(() => Buffer.concat(client.messages.map(({ data }) => data)).equals(bytes)).toBe(true);
    client.socket.close();
    await client.closed;
    await expect.poll(async () => (await engine.call('GET', '/containers/con/json')).json.State.Status).toBe('exited');
  });

  it('detaches by the keys', async () => {
    await run({ Cmd: ['cat'], OpenStdin: true, Tty: true });
    const client = await open('stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,x');
    client.socket.send('typed\n');
    await expect.poll(() => client.text()).toContain('typed\r\n');
    client.socket.send('\x01x');
    await client.closed;
    expect((await engine.call('GET', '/containers/con/json')).json.State.Status).toBe('running');
  });

  it('gives text to clients before 1.28, whole characters at a time', async () => {
    await run({ Cmd: ['sh', '-c', 'printf "\\303"; sleep 0.2; printf "\\244\\n"'], Tty: false }, false);
    const client = await open('stream=1&stdout=1', '1.27');
    await engine.call('POST', '/containers/con/start');
    await client.closed;
    expect(client.text()).toBe('ä\n');
    expect(client.messages.every(({ binary }) => !binary)).toBe(true);
  });

  it('is refused with Docker’s messages', async () => {
    expect(await engine.call('GET', '/containers/con/attach/ws')).toMatchObject({
      status: 404,
      json: { message: 'No such container: con' },
    });
    await run({ Cmd: ['sleep', '60'] });
    expect(await engine.call('GET', '/containers/con/attach/ws?stream=1&stdout=1')).toMatchObject({
      status: 400,
      text: 'not websocket protocol',
    });
    expect(await engine.call('GET', '/containers/con/attach/ws?detachKeys=foo')).toMatchObject({
      status: 400,
      json: { message: 'Invalid detach keys (foo) provided' },
    });
  });
});
