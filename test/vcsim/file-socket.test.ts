/** hostd's socket for the datastore's files, and the client that prefers it to HTTPS. */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chown, mkdir, mkdtemp, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { request as secureRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { spoolDirectory } from '../../src/common/paths.js';
import { FileSocket } from '../../src/hostd/server/file-socket.js';
import { type DatastoreClient, VimClient } from '../../src/vim25/index.js';
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

describe('disks that are handed over', () => {
  const id = randomBytes(16).toString('hex');
  const directory = spoolDirectory(id);
  /** Of an endpoint; tests run as root. */
  const OWNER = 63_999;
  const name = (): string => `disks/layer-${randomBytes(8).toString('hex')}.vmdk`;
  let client: VimClient;
  let files: DatastoreClient;

  beforeAll(async () => {
    await mkdir(join(directory, 'disks'), { recursive: true });
    await chown(directory, OWNER, OWNER);
    client = await VimClient.connect({ ...hostd, filesSocket: hostd.paths.filesSocket, spool: { id, directory } });
    files = client.datastore('datastore1', 'ha-datacenter');
  });
  afterAll(async () => {
    await client.close();
    await rm(directory, { recursive: true, force: true });
  });

  async function disk(content: string, owner = OWNER): Promise<string> {
    const path = join(directory, name());
    await writeFile(path, content);
    await chown(path, owner, owner);
    return path;
  }

  it('are on the datastore as a whole, in place of what was there', async () => {
    for (const content of ['one', 'another one']) {
      expect(await files.hand('handed', await disk(content))).toBe(true);
      expect((await files.read('handed')).toString()).toBe(content);
    }
    const { mode, uid } = await stat(join(hostd.paths.datastoreDir, 'handed'));
    expect([mode & 0o777, uid]).toEqual([0o644, 0]);
  });

  it('are an endpoint’s own files, and nothing that a link leads to', async () => {
    const foreign = await disk('somebody else’s', OWNER + 1);
    const roots = await disk('root’s', 0);
    const link = join(directory, name());
    await symlink(await disk('linked'), link);
    const fifo = join(directory, name());
    execFileSync('mkfifo', [fifo]);
    const outside = await mkdtemp(join(tmpdir(), 'caisson-handed-'));
    const there = name().slice('disks/'.length);
    await writeFile(join(outside, there), 'outside');
    await chown(join(outside, there), OWNER, OWNER);
    try {
      for (const path of [foreign, roots, link, fifo, join(directory, name())])
        expect(await files.hand('refused', path)).toBe(false);
      expect(await files.hand('refused', join(directory, 'disks/../disks/x.vmdk'))).toBe(false);
      expect(await files.hand('refused', '/etc/passwd')).toBe(false);
      await rename(join(directory, 'disks'), join(directory, 'moved'));
      await symlink(outside, join(directory, 'disks'));
      expect(await files.hand('refused', join(directory, 'disks', there))).toBe(false);
      await rm(join(directory, 'disks'));
      await rename(join(directory, 'moved'), join(directory, 'disks'));
      expect(await files.exists('refused')).toBe(false);
      expect((await readdir(hostd.paths.datastoreDir)).filter((one) => one.startsWith('.'))).toEqual([]);
    } finally {
      await rm(outside, { recursive: true, force: true });
    }
  });

  it('are not asked for where there is no such socket, and refused over HTTPS', async () => {
    const path = await disk('far');
    const { url, user, password, thumbprint } = hostd;
    const far = await VimClient.connect({ url, user, password, thumbprint, spool: { id, directory } });
    try {
      expect(await far.datastore('datastore1', 'ha-datacenter').hand('far', path)).toBe(false);
    } finally {
      await far.close();
    }
    const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
    const headers = { authorization, 'caisson-disk': `${id}${path.slice(directory.length)}` };
    const where = new URL('/folder/far?dcPath=ha-datacenter&dsName=datastore1', url);
    const status = await new Promise((resolve, reject) => {
      secureRequest(where, { method: 'COPY', headers, rejectUnauthorized: false, agent: false }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      })
        .once('error', reject)
        .end();
    });
    expect(status).toBe(405);
  });
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
