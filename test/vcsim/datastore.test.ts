/** Datastore files over a simulator's /folder. */
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DatastoreClient, VimClient } from '../../src/vim25/index.js';
import { inventory, place } from '../support/inventory.js';
import { startVcsim, type Vcsim } from '../support/vcsim.js';

describe.each(['vpx', 'esx'] as const)('DatastoreClient on the %s model', (model) => {
  let vcsim: Vcsim;
  let client: VimClient;
  let files: DatastoreClient;

  beforeAll(async () => {
    vcsim = await startVcsim(model);
    client = await VimClient.connect(vcsim);
    const { datastore, datacenter } = await place(client);
    files = client.datastore(datastore, datacenter);
  });
  afterAll(async () => {
    await client?.close();
    await vcsim?.stop();
  });

  it('stores a small file, even with an odd name', async () => {
    for (const path of ['plain.txt', 'dir one/ü & %41 #?+;=,~ "x".txt', `dir/${'n'.repeat(200)}`, '𝄞/1']) {
      expect(await files.size(path)).toBeNull();
      expect(await files.exists(path)).toBe(false);
      await files.put(path, `content of ${path}`);
      expect((await files.read(path)).toString()).toBe(`content of ${path}`);
      expect(await files.size(path)).toBe(Buffer.byteLength(`content of ${path}`));
    }
  });

  it('stores an empty file', async () => {
    await files.put('empty', '');
    expect(await files.size('empty')).toBe(0);
    expect(await files.read('empty')).toHaveLength(0);
  });

  it('streams a large file both ways, with and without a known size, and counts it', async () => {
    const chunk = randomBytes(64 * 1024);
    const size = chunk.length * 320;
    const digest = createHash('sha256');
    for (let i = 0; i < 320; i++) digest.update(chunk);
    const expected = digest.digest('hex');
    for (const known of [true, false]) {
      let sent = 0;
      const source = Readable.from(Array.from({ length: 320 }, () => chunk));
      await files.put('large', source, { size: known ? size : undefined, onProgress: (bytes) => (sent = bytes) });
      expect(sent).toBe(size);
      const back = createHash('sha256');
      for await (const part of await files.get('large')) back.update(part as Buffer);
      expect(back.digest('hex')).toBe(expected);
    }
  });

  it('reads ranges', async () => {
    await files.put('digits', '0123456789');
    const range = async (start?: number, end?: number): Promise<string> => {
      let text = '';
      for await (const part of await files.get('digits', { start, end })) text += String(part);
      return text;
    };
    expect(await range(2, 5)).toBe('234');
    expect(await range(7)).toBe('789');
    expect(await range(undefined, 1)).toBe('0');
    expect(await range(9, 100)).toBe('9');
    await expect(range(10, 11)).rejects.toMatchObject({ kind: 'invalid' });
  });

  it('refuses paths that climb upwards, and missing files', async () => {
    await expect(files.get('none')).rejects.toMatchObject({ kind: 'notFound' });
    for (const path of ['../x', 'a/../../x', 'a/./b', 'a\0b', '\ud800']) {
      await expect(files.put(path, 'x')).rejects.toMatchObject({ kind: 'invalid' });
    }
  });

  it('gives up reading a file that is larger than allowed', async () => {
    await files.put('big', Buffer.alloc(1000));
    await expect(files.read('big', 999)).rejects.toMatchObject({ kind: 'invalid' });
    expect(await files.read('big', 1000)).toHaveLength(1000);
  });

  it('fails when the source fails, and can be aborted', async () => {
    const failing = new Readable({
      read() {
        this.push(Buffer.alloc(1000));
        this.destroy(new Error('the source broke'));
      },
    });
    await expect(files.put('broken', failing, { size: 10_000 })).rejects.toThrow(/source broke/);
    const endless = new Readable({
      read() {
        setTimeout(() => this.push(Buffer.alloc(10)), 5);
      },
    });
    const put = files.put('endless', endless, { signal: AbortSignal.timeout(100) });
    await expect(put).rejects.toMatchObject({ kind: 'cancelled' });
    expect(endless.destroyed).toBe(true);
  });

  it('is found by the datastore browser', async () => {
    const { datastore } = await place(client);
    await files.put('search/one.vmx', 'x');
    const [object] = await client.retrieve(
      [...(await inventory(client, 'Datastore')).values()].slice(0, 1),
      'Datastore',
      ['browser'],
    );
    const result = await client.runTask('SearchDatastore_Task', object!.props.browser!, {
      datastorePath: `[${datastore}] search`,
      searchSpec: { matchPattern: ['*.vmx'] },
    });
    expect(result).toMatchObject({ $type: 'HostDatastoreBrowserSearchResults', file: [{ path: 'one.vmx' }] });
    const move = { sourceName: `[${datastore}] search/one.vmx`, destinationName: `[${datastore}] search/two.vmx` };
    await client.runTask('MoveDatastoreFile_Task', client.serviceContent.fileManager!, await withDatacenter(move));
    expect((await files.read('search/two.vmx')).toString()).toBe('x');
    expect(await files.exists('search/one.vmx')).toBe(false);
  });

  async function withDatacenter<T extends object>(args: T) {
    const [datacenter] = [...(await inventory(client, 'Datacenter')).values()];
    return { ...args, sourceDatacenter: datacenter!, destinationDatacenter: datacenter! };
  }
});
