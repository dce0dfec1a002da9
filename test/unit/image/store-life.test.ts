/**
 * Whatever is done to images and volumes is broken off at each of its writes in turn: refused for want of room, killed before and after, its
 * answer lost. After the next start what was acknowledged is there, and nothing that was half made.
 */
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { commitReference, type OpenImageService, openImageService } from '../../../appliance/image/index.js';
import type { VchConfig } from '../../../port-layer/config.js';
import { DatastoreKeyValueStore } from '../../../port-layer/storage/key-value-store.js';
import { Layers } from '../../../port-layer/storage/layers.js';
import { volumeDiskPath, volumeId } from '../../../port-layer/storage/volume-disks.js';
import { VolumeUse } from '../../../port-layer/storage/volume-use.js';
import { Volumes } from '../../../port-layer/storage/volumes.js';
import { sha256 } from '../../../src/common/ids.js';
import { Ext4Filesystem, VmdkChain } from '../../../src/disk/index.js';
import { failingStore, TROUBLES, type Trouble, type Write } from '../../support/failing-store.js';
import { randomOf } from '../../support/random.js';
import { type FaultyRegistry, startFaultyRegistry } from '../../support/registry/faulty-registry.js';
import { buildImage } from '../../support/registry/image-builder.js';
import { streamOf, tarOf } from '../disk/support.js';

const CONFIG = {
  id: 'v',
  imageStore: { datastore: 'datastore1', path: '' },
  container: { baseImageSizeGiB: 1 },
} as VchConfig;
const ROOT = 'VIC/v';

/** What a user sees: images by their layers, with their names; volumes by name. */
interface Seen {
  images: string[];
  volumes: string[];
}

/** One write that goes wrong. */
interface Plan {
  trouble: Trouble;
  at: number;
}

/** The engine's stores over a datastore in a directory, started again and again. */
class Engine {
  private layers!: Layers;
  volumes!: Volumes;
  service!: OpenImageService;
  private plan: Plan | null = null;
  private starts = 0;
  /** Writes since the last {@link planned}. */
  writes: Write[] = [];

  constructor(
    readonly directory: string,
    private readonly registry: string,
  ) {}

  async open(): Promise<void> {
    await this.close();
    this.plan = null;
    const store = failingStore(join(this.directory, 'store'), ROOT, (what) => this.next(what));
    const spool = join(this.directory, `spool-${++this.starts}`);
    this.layers = new Layers(store, CONFIG, join(spool, 'disks'));
    await this.layers.load();
    this.volumes = new Volumes(store, CONFIG, this.layers, new VolumeUse(() => []), join(spool, 'disks'));
    await this.volumes.load();
    this.service = await openImageService({
      layers: this.layers,
      kv: new DatastoreKeyValueStore(store),
      registry: { mirrors: [], insecure: [], certificateAuthorities: [] },
      spoolDir: join(spool, 'images'),
      retryDelayMs: 1,
    });
  }

  async close(): Promise<void> {
    await this.service?.close();
    if (this.starts > 0) await rm(join(this.directory, `spool-${this.starts}`), { recursive: true, force: true });
  }

  planned(plan: Plan | null): void {
    this.plan = plan;
    this.writes = [];
  }

  /** True if the trouble came up. */
  get troubled(): boolean {
    return this.plan !== null && this.writes.length > this.plan.at;
  }

  private next(what: Write): Trouble | null {
    this.writes.push(what);
    return this.plan?.at === this.writes.length - 1 ? this.plan.trouble : null;
  }

  // --- what is done --------------------------------------------------------------------------------------------------

  readonly acts = {
    pull: () => this.service.pull(`${this.registry}/pulled`, { progress: () => undefined }),
    load: () => this.service.load(streamOf(archive), { said: () => undefined }),
    import: () => this.service.import(streamOf(layerTars.imported), made('imported')),
    commit: () => this.service.commit({ ...made('committed'), base: this.base, layer: streamOf(layerTars.top), ...BY }),
    tag: () => this.service.tag('base', 'second:name'),
    retag: () => this.service.tag('other', 'base'),
    untag: () => this.remove('twice:b'),
    rmi: () => this.remove('base'),
    rmiById: () => this.remove(this.service.resolve('other').id),
    prune: async () => {
      for (const { repoTags } of this.service.list()) if (repoTags.length === 1) await this.remove(repoTags[0]!);
    },
    volume: () => this.volumes.create(volume('new')),
    filledVolume: () => this.volumes.create(volume('filled'), { layer: this.base.chainIds.at(-1)!, path: '/base' }),
    volumeRm: () => this.volumes.remove('old'),
    /** What there is at the beginning. */
    restore: async () => {
      for (const one of begin) await this.service.load(streamOf(one), { said: () => undefined });
      await this.volumes.create(volume('old'));
    },
    imageOfNothing: async () => void (await this.layers.diskOf(null)),
  };

  private get base() {
    return this.service.resolve('base');
  }

  private remove(name: string): Promise<unknown> {
    return this.service.remove(name, { force: false, noPrune: false, usedBy: () => [] });
  }

  // --- what there is -------------------------------------------------------------------------------------------------

  seen(): Seen {
    const images = this.service
      .list()
      .map(({ chainIds, repoTags }) => `${chainIds.at(-1)?.slice(7, 15)} ${repoTags.map(local).join(' ')}`);
    return {
      images: images.sort(),
      volumes: this.volumes
        .list()
        .map(({ name }) => name)
        .sort(),
    };
  }

  /** Names of what is on the datastore besides what images and volumes need, and of what they need and is not there. */
  async strays(): Promise<string[]> {
    const files = await readdir(join(this.directory, 'store', ROOT), { recursive: true });
    const images = this.service.list();
    const hex = (id: string): string => id.slice(7);
    const needed = new Set(['images', 'kv', 'volumes', 'kv/images']);
    for (const { id, chainIds } of images) {
      needed.add(`kv/image-${hex(id)}`);
      for (const chain of chainIds) {
        const directory = `images/${hex(chain)}`;
        for (const name of ['', '/layer.json', '/tar-recipe', `/${hex(chain)}.vmdk`]) needed.add(directory + name);
      }
    }
    for (const { name } of this.volumes.list()) {
      const directory = `volumes/${volumeId(name)}`;
      for (const file of ['', '/volume.json', `/${volumeId(name)}.vmdk`]) needed.add(directory + file);
    }
    const mayBe = new Set(['kv/blob-sources', ...images.map(({ id }) => `kv/manifest-${hex(id)}`)]);
    const emptyLayer = sha256('an empty layer');
    const extra = files.filter((file) => !needed.has(file) && !mayBe.has(file) && !file.includes(emptyLayer));
    return [...extra, ...[...needed].filter((file) => file !== 'kv/images' && !files.includes(file))];
  }

  /** Files of things under way. */
  async spooled(): Promise<string[]> {
    const names = await readdir(join(this.directory, `spool-${this.starts}`), { recursive: true });
    return names.filter((name) => name !== 'disks' && name !== 'images');
  }

  /** Reads every layer, which checks its digest, and every volume. */
  async readAll(): Promise<void> {
    for (const chain of new Set(this.service.list().flatMap(({ chainIds }) => chainIds)))
      for await (const _ of await this.layers.tar(chain));
    for (const { name } of this.volumes.list()) {
      const chain = await VmdkChain.open(volumeDiskPath(CONFIG, name), (path) => this.layers.openDisk(path));
      await Ext4Filesystem.open(chain);
      await chain.close();
    }
  }
}

const local = (reference: string): string => reference.replace(/^127\.0\.0\.1:\d+\//, '');
const made = (name: string) => ({ config: {}, fields: {}, comment: '', reference: commitReference(name, '') });
const BY = { author: '', createdBy: '' };
const volume = (name: string) => ({ name, driver: 'local', labels: null, options: null, capacityBytes: 8 * 2 ** 20 });

type Act = keyof Engine['acts'];
let registry: FaultyRegistry;
let archive: Buffer;
let begin: Buffer[];
let layerTars: Record<'base' | 'middle' | 'top' | 'imported' | 'pulled' | 'loaded', Buffer>;
let home: string;
let engines = 0;

/** An engine with images that share layers, and a volume. */
async function start(from: string | null): Promise<Engine> {
  const directory = join(home, `engine-${++engines}`);
  if (from !== null) await cp(from, directory, { recursive: true });
  const engine = new Engine(directory, registry.address);
  await engine.open();
  return engine;
}

/** An archive of `docker save`. */
async function archiveOf(layers: Buffer[], tags: string[]): Promise<Buffer> {
  const config = JSON.stringify({
    ...{ architecture: 'amd64', os: 'linux', config: {} },
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => `sha256:${sha256(layer)}`) },
  });
  const names = layers.map((_, index) => `${index}.tar`);
  return tarOf([
    { name: 'c.json', content: config },
    ...layers.map((content, index) => ({ name: `${index}.tar`, content })),
    { name: 'manifest.json', content: JSON.stringify([{ Config: 'c.json', RepoTags: tags, Layers: names }]) },
  ]);
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'caisson-store-life-'));
  const names = ['base', 'middle', 'top', 'imported', 'pulled', 'loaded'] as const;
  const tars = names.map(async (name) => [name, await tarOf([{ name: `${name}/file`, content: name.repeat(500) }])]);
  layerTars = Object.fromEntries(await Promise.all(tars)) as typeof layerTars;
  const { base, middle, top, pulled, loaded } = layerTars;
  registry = await startFaultyRegistry({ images: { 'pulled:latest': buildImage({ layers: [base, middle, pulled] }) } });
  archive = await archiveOf([base, middle, loaded], ['loaded:one', 'loaded:two']);
  // The pause of a volume's removal before it tries again.
  const { setTimeout: real } = globalThis;
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(((body: () => void, ms?: number, ...args: []) =>
    real(body, ms === 500 ? 0 : ms, ...args)) as typeof setTimeout);

  begin = await Promise.all([
    archiveOf([base, middle], ['base:latest']),
    archiveOf([base, middle, top], ['twice:a', 'twice:b']),
    archiveOf([top], ['other:latest']),
  ]);
  const engine = await start(null);
  await engine.acts.restore();
  await engine.close();
});
afterAll(async () => {
  vi.restoreAllMocks();
  await registry.stop();
  await rm(home, { recursive: true, force: true });
});

/** To be killed after a write leaves what being killed before the next one does. */
const troublesOf = (write: Write): Trouble[] =>
  write === 'remove' ? ['fail', 'lose', 'die', 'tear'] : ['fail', 'lose', 'die'];

/** True if it was acknowledged. */
async function tried(body: () => Promise<unknown>): Promise<boolean> {
  try {
    await body();
    return true;
  } catch {
    return false;
  }
}

/** Removing an image takes its names away one after the other, as Docker does; so does pruning, image after image. */
function between(now: Seen, before: Seen, after: Seen): boolean {
  const layersOf = (images: string[]): string[] => images.map((image) => image.split(' ')[0]!);
  return (
    now.volumes.join() === before.volumes.join() &&
    layersOf(after.images).every((image) => layersOf(now.images).includes(image)) &&
    layersOf(now.images).every((image) => layersOf(before.images).includes(image))
  );
}

describe('every write of it goes wrong:', () => {
  it.each<Act>([
    ...(['pull', 'load', 'import', 'commit', 'tag', 'retag', 'untag', 'rmi', 'rmiById', 'prune'] as const),
    ...(['volume', 'filledVolume', 'volumeRm', 'imageOfNothing'] as const),
  ])('%s', async (act) => {
    const template = join(home, 'engine-1');
    const whole = await start(template);
    const before = whole.seen();
    whole.planned(null);
    await whole.acts[act]();
    const after = whole.seen();
    const { writes } = whole;
    expect(writes).not.toEqual([]);
    await whole.close();

    for (const [at, write] of writes.entries())
      for (const trouble of troublesOf(write)) {
        const engine = await start(template);
        engine.planned({ trouble, at });
        const acknowledged = await tried(engine.acts[act]);
        const what = engine.writes[at];
        const how = `${act}: ${trouble} at write ${at}, ${what}${acknowledged ? ', acknowledged' : ''}`;
        expect(await engine.spooled(), how).toEqual([]);
        // Only if what it clears up with fails itself, something stays until the next start.
        if (trouble === 'fail' && what !== 'remove') {
          const kept = (await engine.strays()).filter((name) => !/^kv\/(image|manifest)-/.test(name));
          expect(kept, `${how}: at once`).toEqual([]);
        }
        const running = engine.seen();
        await engine.open();
        expect(await engine.strays(), how).toEqual([]);
        if (trouble === 'fail') expect(engine.seen(), `${how}: before the next start, and after`).toEqual(running);
        if (acknowledged) expect(engine.seen(), how).toEqual(after);
        else if (/^(rmi|prune)/.test(act)) expect(between(engine.seen(), before, after), how).toBe(true);
        else expect([before, after], how).toContainEqual(engine.seen());
        await engine.readAll();
        // And it can be done then.
        if (!acknowledged) await tried(engine.acts[act]);
        if (!/^(rmi|prune|commit|import)/.test(act)) expect(engine.seen(), `${how}: again`).toEqual(after);
        await engine.close();
        await rm(engine.directory, { recursive: true });
      }
  });
});

it('in any order, many times: nothing that was acknowledged is lost, and nothing stays', async () => {
  const random = randomOf(14);
  const engine = await start(join(home, 'engine-1'));
  const acts = Object.keys(engine.acts) as Act[];
  let [done, troubled] = [0, 0];
  for (let step = 0; step < 120; step++) {
    const act = random(5) === 0 ? 'restore' : acts[random(acts.length)]!;
    const trouble = random(2) === 0 ? TROUBLES[random(TROUBLES.length)]! : null;
    engine.planned(trouble === null ? null : { trouble, at: random(12) });
    const before = engine.seen();
    if (await tried(engine.acts[act])) done++;
    if (engine.troubled) troubled++;
    const now = engine.seen();
    if (!engine.troubled || trouble === 'fail') {
      await engine.open();
      expect(engine.seen(), `step ${step}, ${act}`).toEqual(now);
    } else await engine.open();
    expect(await engine.strays(), `step ${step}, ${act}, ${trouble}`).toEqual([]);
    // Nothing but removing and renaming takes names away.
    if (!/^(rmi|untag|prune|volumeRm)/.test(act)) {
      expect(engine.seen().images.length).toBeGreaterThanOrEqual(before.images.length);
      expect(engine.seen().volumes).toEqual(expect.arrayContaining(before.volumes));
    }
  }
  await engine.readAll();
  await engine.close();
  expect(Math.min(done, troubled)).toBeGreaterThan(10);
});
