/** hostd's socket for the datastore's files, and the client that prefers it to HTTPS. */

import { rm } from 'node:fs/promises';
import { request } from 'node:http';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { FileSocket } from '../../src/hostd/server/file-socket.js';
import { VimClient } from '../../src/vim25/index.js';
import { type FakeHostd, startFakeHostd } from '../support/fake-hostd.js';

let hostd: FakeHostd;
beforeAll(async () => {
  hostd = await startFakeHostd();
});
afterAll(() => hostd.stop());

const connect = (filesSocket: string): Promise<VimClient> =>
  VimClient.connect({ ...hostd, thumbprint: hostd.thumbprint, filesSocket });

async function textOf(stream: Readable): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}

function ask(path: string, headers: Record<string, string> = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    request({ socketPath: hostd.paths.filesSocket, path, headers }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    })
      .once('error', reject)
      .end();
  });
}

it('nobody gets a file without the cookie of a session', async () => {
  const path = '/folder/any?dcPath=ha-datacenter&dsName=datastore1';
  const basic = `Basic ${Buffer.from(`${hostd.user}:${hostd.password}`).toString('base64')}`;
  expect(await ask(path)).toBe(401);
  expect(await ask(path, { cookie: `vmware_soap_session="${'0'.repeat(40)}"` })).toBe(401);
  expect(await ask(path, { authorization: basic })).toBe(401);
  expect(await ask('/sdk')).toBe(404);
});

it('what is written there is on the datastore, with or without it', async () => {
  const client = await connect(hostd.paths.filesSocket);
  const other = await VimClient.connect({ ...hostd, thumbprint: hostd.thumbprint });
  try {
    const [here, there] = [client, other].map((one) => one.datastore('datastore1', 'ha-datacenter'));
    await here!.put('written', Readable.from([Buffer.from('one '), Buffer.from('two')]), { size: 7 });
    expect((await there!.read('written')).toString()).toBe('one two');
    expect(await textOf(await here!.get('written', { start: 4, end: 7 }))).toBe('two');
    await expect(here!.get('missing')).rejects.toMatchObject({ kind: 'notFound' });
    await hostd.restart();
    // The session is gone, and with it the connections.
    expect((await here!.read('written')).toString()).toBe('one two');
    await here!.delete('written');
    expect(await there!.exists('written')).toBe(false);
  } finally {
    await client.close();
    await other.close();
  }
});

it('files go by the socket as long as somebody listens there, and by HTTPS otherwise', async () => {
  const path = `${hostd.paths.runDir}/test.sock`;
  const asked: (string | undefined)[] = [];
  const socket = await FileSocket.listen(path, async (incoming, response, known) => {
    known();
    asked.push(incoming.method);
    incoming.resume();
    response.end('by the socket');
  });
  const client = await connect(path);
  try {
    const files = client.datastore('datastore1', 'ha-datacenter');
    expect((await files.read('file')).toString()).toBe('by the socket');
    await files.put('file', Readable.from([Buffer.from('lost')]), { size: 4 });
    expect(asked).toEqual(['GET', 'HEAD', 'PUT']);
    await socket.close();
    await files.put('file', Readable.from([Buffer.from('by '), Buffer.from('HTTPS')]), { size: 8 });
    expect((await files.read('file')).toString()).toBe('by HTTPS');
    expect(asked).toHaveLength(3);
  } finally {
    await client.close();
    await rm(path, { force: true });
  }
});

it('connections that say nothing make room for others', async () => {
  const path = `${hostd.paths.runDir}/crowd.sock`;
  const socket = await FileSocket.listen(path, async (_, response, known) => {
    known();
    response.end();
  });
  const { connect: open } = await import('node:net');
  const silent = Array.from({ length: 150 }, () => open(path).on('error', () => undefined));
  try {
    const closed = silent.map((one) => new Promise((resolve) => one.once('close', resolve)));
    await Promise.race(closed);
    const status = await new Promise((resolve, reject) => {
      request({ socketPath: path, path: '/folder/x' }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      })
        .once('error', reject)
        .end();
    });
    expect(status).toBe(200);
  } finally {
    for (const one of silent) one.destroy();
    await socket.close();
  }
});
