import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NfsStores } from '../../../port-layer/storage/nfs-stores.js';
import { type NfsFiles, NfsVolumes } from '../../../port-layer/storage/nfs-volumes.js';
import type { VolumeInfo } from '../../../port-layer/storage/types.js';
import { conflict, forbidden, notFound, unavailable } from '../../../src/common/errors.js';
import { NfsClient } from '../../../src/nfs/index.js';

const CONFIG = { label: 'net', host: 'nas', path: '/export', uid: 7, gid: 8 };
const volume = (name: string, labels: Record<string, string> | null = null) => ({
  name,
  labels,
  driver: 'local',
  options: null,
  createdAt: '2026-01-02T03:04:05.000Z',
});

/** A server's tree: the paths of directories, and of files with their content. */
class Tree {
  readonly paths = new Map<string, Buffer | null>();
  /** What is refused: `operation name`. */
  refused = '';

  private path(parent: Buffer, name: string | Buffer): string {
    return `${parent.toString()}/${name.toString()}`;
  }

  private check(operation: string, name: string | Buffer): void {
    if (this.refused === `${operation} ${name.toString().replace(/-[0-9a-f]{12}$/, '')}`)
      throw forbidden('permission denied');
  }

  private moved(from: string, to: string): void {
    for (const [path, content] of [...this.paths])
      if (path === from || path.startsWith(`${from}/`)) {
        this.paths.delete(path);
        this.paths.set(to + path.slice(from.length), content);
      }
  }

  readonly files: NfsFiles = {
    directory: (path) => Promise.resolve(Buffer.from(path)),
    child: async (parent, name) => {
      const path = this.path(parent, name);
      if (!this.paths.has(path)) throw notFound('no such file or directory');
      return Buffer.from(path);
    },
    provide: async (parent, name) => {
      this.paths.set(this.path(parent, name), null);
      return Buffer.from(this.path(parent, name));
    },
    makeDirectory: async (parent, name) => {
      this.check('mkdir', name);
      if (this.paths.has(this.path(parent, name))) throw conflict('file exists');
      this.paths.set(this.path(parent, name), null);
    },
    directories: async (parent) =>
      [...this.paths].flatMap(([path, content]) => {
        const [, name] = /^\/([^/]+)$/.exec(path.slice(parent.length)) ?? [];
        return path.startsWith(parent.toString()) && name !== undefined && content === null ? name : [];
      }),
    readFile: async (parent, name) => {
      const content = this.paths.get(this.path(parent, name));
      if (content === undefined || content === null) throw notFound('no such file or directory');
      return content;
    },
    writeFile: async (parent, name, _draft, content) => {
      this.check('write', name);
      this.paths.set(this.path(parent, name), content);
    },
    rename: async (from, name, to, newName) => {
      this.check('rename', name);
      if (!this.paths.has(this.path(from, name))) throw notFound('no such file or directory');
      this.moved(this.path(from, name), this.path(to, newName));
    },
    remove: async (parent, name) => this.paths.delete(this.path(parent, name)),
    removeTree: async (parent, name) => {
      this.check('remove', name);
      const root = this.path(parent, name);
      for (const path of [...this.paths.keys()])
        if (path === root || path.startsWith(`${root}/`)) this.paths.delete(path);
    },
  };
}

describe('the volumes of an NFS server', () => {
  let tree: Tree;
  let store: NfsVolumes;
  const paths = (): string[] => [...tree.paths.keys()].map((path) => path.replace('/export/', '')).sort();
  const EMPTY = ['volumes', 'volumes_metadata', 'volumes_removed'];

  beforeEach(() => {
    tree = new Tree();
    store = new NfsVolumes(CONFIG, (target, work) => {
      expect(target).toEqual({ host: 'nas', port: 2049, uid: 7, gid: 8 });
      return work(tree.files);
    });
  });

  it('are directories, which guests mount, with a record that another engine reads', async () => {
    const made = await store.create(volume('one', { k: 'v' }));
    expect(made).toMatchObject({ capacityBytes: 0, store: 'net', labels: { k: 'v' } });
    expect(made.mount).toEqual({
      type: 'nfs4',
      device: ':/export/volumes/one',
      flags: 0,
      data: 'addr=nas,vers=4.1',
    });
    expect(store.placeOf('one')).toBe('nfs://nas/export/volumes/one');
    expect(new NfsVolumes({ ...CONFIG, host: 'fd00::1', port: 80, path: '/' }).placeOf('x')).toBe(
      'nfs://[fd00::1]:80/volumes/x',
    );
    expect(await store.load()).toEqual([made]);
    // Another engine has made it meanwhile: it is the same volume.
    expect(await store.create(volume('one', { other: 'labels' }))).toEqual(made);
    await store.remove('one');
    expect(paths()).toEqual(EMPTY);
    await store.remove('one');
  });

  it('need no record, and one that is damaged costs the labels', async () => {
    await store.create(volume('one', { k: 'v' }));
    tree.paths.set('/export/volumes/by-hand', null);
    tree.paths.set('/export/volumes/not a volume', null);
    tree.paths.set('/export/volumes_metadata/one.json', Buffer.from('{"labels":'));
    const found = await store.load();
    expect(found.map(({ name, labels }) => ({ name, labels }))).toEqual([
      { name: 'one', labels: null },
      { name: 'by-hand', labels: null },
    ]);
  });

  it('are not made by half', async () => {
    await store.load();
    tree.refused = 'write one.json';
    await expect(store.create(volume('one'))).rejects.toMatchObject({
      kind: 'unavailable',
      message: 'volume one: the volume store net on the NFS server nas:/export cannot be used: permission denied',
    });
    expect(paths()).toEqual(EMPTY);
    await expect(store.create(volume('x'.repeat(231)))).rejects.toThrow('230 characters are the most');
  });

  it('stay when the server does not let their files be removed', async () => {
    const made = await store.create(volume('one'));
    tree.refused = 'remove one';
    await expect(store.remove('one')).rejects.toThrow('permission denied');
    expect(
      await new NfsVolumes(CONFIG, (_, work) => work({ ...tree.files, removeTree: () => Promise.resolve() })).load(),
    ).toEqual([made]);
    tree.refused = '';
    // What a removal has left that lost the server is removed by the next one, and when an engine starts.
    tree.paths.set('/export/volumes_removed/one-0123456789ab', null);
    tree.paths.set('/export/volumes_removed/one-0123456789ab/f', Buffer.alloc(1));
    tree.paths.set('/export/volumes_removed/one-more-0123456789ab', null);
    await store.remove('one');
    expect(paths()).toEqual([...EMPTY, 'volumes_removed/one-more-0123456789ab']);
    await store.load();
    expect(paths()).toEqual(EMPTY);
  });

  it('are found when their server answers, which an engine does not wait for', async () => {
    let answers = false;
    const found: VolumeInfo[] = [];
    const stores = new NfsStores([CONFIG, { ...CONFIG, label: 'dead' }], (config) =>
      Object.assign(new NfsVolumes(config), {
        load: async (): Promise<VolumeInfo[]> => {
          if (config.label === 'dead') await new Promise(() => undefined);
          if (!answers) throw unavailable('it does not answer');
          return [{ ...volume('one'), capacityBytes: 0 }];
        },
      }),
    );
    stores.againMs = 1;
    stores.startMs = 10;
    await stores.load((one) => found.push(one));
    expect([stores.of('net') === undefined, stores.of('other'), stores.of(undefined)]).toEqual([
      false,
      undefined,
      undefined,
    ]);
    answers = true;
    await expect.poll(() => found.map(({ name }) => name)).toEqual(['one']);
    stores.close();
  });
});

describe('a server', () => {
  let server: Server;
  const sockets: Socket[] = [];
  const reach = async (answer: (socket: Socket) => void): Promise<string> => {
    server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => undefined);
      socket.on('data', () => answer(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    return NfsClient.with({ host: '127.0.0.1', port, uid: 0, gid: 0 }, async () => 'reached', 300).catch(
      (error: Error) => error.message,
    );
  };
  const words = (...numbers: number[]): Buffer => {
    const bytes = Buffer.alloc(numbers.length * 4);
    for (const [at, number] of numbers.entries()) bytes.writeUInt32BE(number >>> 0, at * 4);
    return bytes;
  };

  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  it.each([
    ['that says nothing', () => undefined, 'it does not answer'],
    ['that hangs up', (socket: Socket) => socket.end(), 'the server has closed the connection'],
    ['with an answer without end', (socket: Socket) => socket.write(words(0x7fffffff, 1)), 'its answer is too large'],
    ['that speaks of another call', (socket: Socket) => socket.write(words(0x8000000c, 1, 1, 0)), 'to another call'],
    ['with half an answer', (socket: Socket) => socket.write(words(0x80000004, 1)), 'to another call'],
  ])('%s costs an error', async (_, answer, message) => {
    expect(await reach(answer)).toContain(message);
  });
});
