/** Making and restoring backups against a host that answers as told, and breaks off. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recordFrame, unitFrame } from '../../../appliance/docker/backup/backup-frames.js';
import { localFiles, type Manifest, Repository } from '../../../src/backup/index.js';
import { createBackup } from '../../../src/cli/backup/create-backup.js';
import { restoreBackup } from '../../../src/cli/backup/restore-backup.js';
import type { VchApi } from '../../../src/cli/backup/vch-api.js';
import { conflict, notFound } from '../../../src/common/errors.js';

const UNIT = 2 ** 20;
let directory: string;
let repository: Repository;
/** What was asked of the host besides questions. */
let done: string[];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-backup-'));
  repository = await Repository.open(localFiles(directory), { make: true });
  done = [];
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** A host with these volumes. @param frames what it sends */
function host(names: string[], frames: Buffer[] = [], fails = ''): VchApi {
  const volumes = names.map((Name) => ({ Name, Driver: 'local', Labels: null, Options: null, Mountpoint: '[ds] x' }));
  const answers: Record<string, unknown> = { '/volumes': { Volumes: volumes } };
  const change = (what: string): void => {
    done.push(what);
    if (what === fails) throw conflict('it does not want to');
  };
  return {
    async ask(method, path) {
      if (method !== 'GET') return change(`${method} ${path}`);
      if (path in answers) return answers[path];
      if (/^\/(containers|networks|images)(\/json)?(\?.*)?$/.test(path)) return [];
      throw notFound(path);
    },
    async read() {
      return Readable.from(frames);
    },
    async send(method, path, content) {
      for await (const _piece of content);
      change(`${method} ${path.replace(/\?.*/, '')}`);
      return '';
    },
  };
}

const volumeFrame = (volume: string, more: object = {}): Buffer[] =>
  recordFrame({ type: 'volume', volume, capacityBytes: 16 * UNIT, unitBytes: UNIT, base: null, mark: 'm1', ...more });
const endFrame = (volume: string): Buffer[] => recordFrame({ type: 'volumeEnd', volume });
const END = recordFrame({ type: 'end' });
const unit = (position: number, letter: string): Buffer[] => unitFrame(position, Buffer.alloc(UNIT, letter));

async function create(api: VchApi): Promise<Manifest> {
  const { chunks } = repository;
  const target = {
    put: (data: Buffer) => chunks.put(data),
    settled: () => chunks.settled(),
    add: (manifest: Manifest) => repository.add(manifest),
    written: 0,
    count: 0,
  };
  return createBackup(api, target, {
    vch: { id: 'a', name: 'host' },
    program: 'test',
    selection: { volumes: [], containers: [] },
    images: false,
    earlier: { backups: (await repository.list()).backups, repository },
    progress: () => undefined,
  });
}

describe('a backup', () => {
  it('has what was sent; of a change, also what was there before', async () => {
    const first = await create(
      host(['v'], [...volumeFrame('v'), ...unit(0, 'a'), ...unit(5, 'b'), ...endFrame('v'), ...END]),
    );
    const changes = [...unit(2, 'c'), ...unitFrame(5, Buffer.alloc(0))];
    const frames = [...volumeFrame('v', { base: 'm1', mark: 'm2' }), ...changes, ...endFrame('v'), ...END];
    const second = await create(host(['v'], frames));
    expect(second.volumes[0]!.disk).toMatchObject({ base: first.id, mark: 'm2', content: { chunks: 2 } });
    const whole = await create(
      host(['v'], [...volumeFrame('v'), ...unit(0, 'a'), ...unit(2, 'c'), ...endFrame('v'), ...END]),
    );
    expect(whole.volumes[0]!.disk!.content).toEqual(second.volumes[0]!.disk!.content);
  });

  it.each<[string, Buffer[], string]>([
    ['ends in the middle', [...volumeFrame('v'), ...unit(0, 'a')], 'its end was not sent'],
    [
      'ends within a frame',
      [...volumeFrame('v'), unit(0, 'a')[0]!, Buffer.alloc(5)],
      'at volume v: what was sent ends too early',
    ],
    [
      'says why it ends',
      [...volumeFrame('v'), ...recordFrame({ type: 'failed', message: 'the disk is gone' })],
      'at volume v: the disk is gone',
    ],
    ['leaves a volume out', END, 'nothing was sent of v'],
    ['changes what is not here', [...volumeFrame('v', { base: 'm9' }), ...END], 'something that is not here'],
    ['mixes up its order', [...unit(0, 'a'), ...END], 'another order'],
    ['is something else', [Buffer.from('HTTP/1.1 200 OK')], 'is no backup'],
  ])('is none if what is sent %s', async (_what, frames, words) => {
    await expect(create(host(['v'], frames))).rejects.toThrow(words);
    expect((await repository.list()).backups).toEqual([]);
  });
});

describe('a restore', () => {
  const restore = async (api: VchApi, signal = new AbortController().signal): Promise<unknown> => {
    const selection = { volumes: new Map<string, string>(), containers: new Map<string, string>() };
    const manifest = (await repository.list()).backups.at(-1)!;
    return restoreBackup(api, { manifest, repository, selection, signal, progress: () => undefined });
  };
  const both = [...volumeFrame('a'), ...unit(0, 'a'), ...endFrame('a'), ...volumeFrame('b'), ...endFrame('b'), ...END];

  it('that fails half-way leaves nothing', async () => {
    await create(host(['a', 'b'], both));
    await expect(restore(host([], [], 'POST /caisson/volumes/b/import'))).rejects.toThrow('it does not want to');
    expect(done).toEqual(['POST /caisson/volumes/a/import', 'POST /caisson/volumes/b/import', 'DELETE /volumes/a']);
  });

  it('that is interrupted leaves nothing', async () => {
    await create(host(['a', 'b'], both));
    const interrupted = new AbortController();
    const api = host([]);
    const send = api.send.bind(api);
    api.send = (...args) => send(...args).finally(() => interrupted.abort());
    await expect(restore(api, interrupted.signal)).rejects.toThrow('interrupted');
    expect(done).toEqual(['POST /caisson/volumes/a/import', 'DELETE /volumes/a']);
  });

  it('of what is damaged, or there already, changes nothing', async () => {
    await create(host(['a', 'b'], both));
    await expect(restore(host(['b']))).rejects.toThrow("there is a volume 'b' already");
    const [one = ''] = readdirSync(join(directory, 'chunks'));
    rmSync(join(directory, 'chunks', one), { recursive: true });
    await expect(restore(host([]))).rejects.toThrow(/is damaged, and nothing was restored: volume a: .* is missing/);
    expect(done).toEqual([]);
  });
});
