/**
 * The records of stored images and of the references to them, kept in the key-value store: the key `images` holds the
 * index, `image-<hex>` an image's configuration, byte for byte. Read once, at open; every change is written before
 * it takes effect.
 */
import { z } from 'zod';
import type { KeyValueStore, LayerStore } from '../../port-layer/index.js';
import { internal, messageOf, notFound } from '../../src/common/errors.js';
import { chainId, sha256 } from '../../src/common/ids.js';
import { logger } from '../../src/common/log.js';
import { parseConfig } from './image-config.js';
import {
  canonicalString,
  familiarString,
  parseAnyReference,
  parseReference,
  type Reference,
  repositoryName,
  withDefaultTag,
} from './reference.js';
import type { Image, ImageConfig } from './types.js';

const log = logger('image');
const INDEX_KEY = 'images';
const configKey = (id: string): string => `image-${id.replace('sha256:', '')}`;
/** See `push/push-manifest.ts`. */
export const manifestKey = (id: string): string => `manifest-${id.replace('sha256:', '')}`;

const indexSchema = z.object({
  version: z.literal(1),
  images: z.array(z.string().regex(/^sha256:[0-9a-f]{64}$/)),
  /** Normal form of a reference (`docker.io/library/busybox:latest`) to the image's id. */
  references: z.record(z.string(), z.string()),
  /** By image id, when a user last gave the image a tag. */
  tagged: z.record(z.string(), z.iso.datetime()).optional(),
  /** By image id, the id of the image that it was committed from. Earlier versions took it from the configuration. */
  parents: z.record(z.string(), z.string()).optional(),
});

interface Stored {
  readonly id: string;
  readonly config: ImageConfig;
  readonly rawConfig: Buffer;
  readonly chainIds: string[];
}

/** The chain ids of an image's layers, lowest first. */
export function chainIdsOf(diffIds: string[]): string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) chain.push(chainId(chain.at(-1) ?? null, diffId));
  return chain;
}

/** The form in which a reference is looked up: with a digest, the tag does not count (it may have moved since). */
function lookupKey(reference: Reference): string {
  const full = withDefaultTag(reference);
  return full.digest ? `${repositoryName(full)}@${full.digest}` : canonicalString(full);
}

/** What the index holds. */
interface Records {
  images: Map<string, Stored>;
  references: Map<string, { reference: Reference; id: string }>;
  tagged: Map<string, Date>;
  parents: Map<string, string>;
}

/** References by image, each image's in the order of their normal form. */
function byImage({ references }: Records): Map<string, Reference[]> {
  const found = new Map<string, Reference[]>();
  for (const [, { reference, id }] of [...references].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const known = found.get(id);
    if (known === undefined) found.set(id, [reference]);
    else known.push(reference);
  }
  return found;
}

/** See the file's head. */
export class ImageStore {
  /** As on the datastore, unless a write has failed: see {@link settle}. */
  #records: Records = { images: new Map(), references: new Map(), tagged: new Map(), parents: new Map() };
  /** Of these records; made when it is needed, for lists of many images. */
  #referencesOf: Map<string, Reference[]> | null = null;
  #changing: Promise<void> = Promise.resolve();
  /** The last write of the index failed. It may have been done all the same. */
  #unsure = false;

  private constructor(
    private readonly kv: KeyValueStore,
    private readonly layers: LayerStore,
  ) {}

  /**
   * Reads the records. An image whose configuration or layers are gone is dropped: it can be pulled again.
   * @throws whatever reading throws: a record that cannot be read now may be readable later
   */
  static async open(kv: KeyValueStore, layers: LayerStore): Promise<ImageStore> {
    const store = new ImageStore(kv, layers);
    const data = await kv.get(INDEX_KEY);
    if (!data) return store;
    let index: z.infer<typeof indexSchema>;
    try {
      index = indexSchema.parse(JSON.parse(data.toString('utf8')));
    } catch (error) {
      throw internal(`the record of images (${INDEX_KEY}) can't be read: ${messageOf(error)}`, error);
    }
    const { images, references, tagged, parents } = store.#records;
    for (const id of index.images) {
      const rawConfig = await kv.get(configKey(id));
      try {
        images.set(id, store.#parse(id, rawConfig));
      } catch (error) {
        log.error({ image: id, reason: messageOf(error) }, 'image dropped');
      }
    }
    for (const [name, id] of Object.entries(index.references)) {
      if (images.has(id)) references.set(name, { reference: parseReference(name), id });
    }
    for (const [id, time] of Object.entries(index.tagged ?? {})) if (images.has(id)) tagged.set(id, new Date(time));
    for (const [id, parent] of Object.entries(index.parents ?? store.#configuredParents()))
      if (images.has(id)) parents.set(id, parent);
    return store;
  }

  /** The parents that configurations name. A pulled image has none, whatever it says. */
  #configuredParents(): Record<string, string> {
    return Object.fromEntries(
      [...this.#records.images.values()].flatMap(({ id, config: { parent } }) =>
        parent !== undefined && this.referencesTo(id).every(({ digest }) => digest === undefined) ? [[id, parent]] : [],
      ),
    );
  }

  #parse(id: string, rawConfig: Buffer | undefined): Stored {
    if (!rawConfig) throw internal('its configuration is missing');
    if (`sha256:${sha256(rawConfig)}` !== id) throw internal('its configuration is damaged');
    const config = parseConfig(rawConfig);
    const chainIds = chainIdsOf(config.rootfs.diff_ids);
    const missing = chainIds.find((chain) => !this.layers.has(chain));
    if (missing) throw internal(`its layer ${missing} is missing`);
    return { id, config, rawConfig, chainIds };
  }

  /** Newest first, in the order of `docker images`. */
  list(): Image[] {
    return [...this.#records.images.values()]
      .map((stored) => ({ image: this.#present(stored), created: Date.parse(stored.config.created ?? '') || 0 }))
      .sort((a, b) => b.created - a.created)
      .map(({ image }) => image);
  }

  get(id: string): Image | undefined {
    const stored = this.#records.images.get(id);
    return stored && this.#present(stored);
  }

  /** By reference, id or unique id prefix. @throws notFound, invalid in Docker's words */
  resolve(text: string): Image {
    const any = parseAnyReference(text);
    if (any.kind === 'id') {
      const image = this.get(any.id);
      if (!image) throw notFound(`No such image: ${any.id}`);
      return image;
    }
    const id = this.idOf(any.reference) ?? this.#search(text);
    const image = id === undefined ? undefined : this.get(id);
    if (!image) throw notFound(`No such image: ${familiarString(withDefaultTag(any.reference))}`);
    return image;
  }

  /** The image that a reference means, without trying it as an id. */
  idOf(reference: Reference): string | undefined {
    return this.#records.references.get(lookupKey(reference))?.id;
  }

  #search(prefix: string): string | undefined {
    const hex = prefix.replace(/^sha256:/, '');
    if (!/^[0-9a-f]+$/.test(hex)) return undefined;
    const found = [...this.#records.images.keys()].filter((id) => id.startsWith(`sha256:${hex}`));
    return found.length === 1 ? found[0] : undefined;
  }

  /** References to an image, in the order of their normal form. */
  referencesTo(id: string): readonly Reference[] {
    this.#referencesOf ??= byImage(this.#records);
    return this.#referencesOf.get(id) ?? [];
  }

  /** The images that were committed from an image. */
  childrenOf(id: string): string[] {
    return [...this.#records.parents].flatMap(([child, parent]) => (parent === id ? [child] : []));
  }

  /** Chain ids that stored images need. */
  usedChainIds(): Set<string> {
    return new Set([...this.#records.images.values()].flatMap((image) => image.chainIds));
  }

  /** Diff ids of the layers of stored images. */
  usedDiffIds(): Set<string> {
    return new Set([...this.#records.images.values()].flatMap(({ config }) => config.rootfs.diff_ids));
  }

  /**
   * Records an image whose layers are in the store, if it is not known yet, and points references at it: in one step.
   * @param named references that a user gives it, with the time; others are what it was pulled or loaded by
   * @param parent the image that it was committed from
   */
  async add(
    image: { id: string; rawConfig: Buffer; config: ImageConfig },
    references: Reference[],
    { named = false, parent }: { named?: boolean; parent?: string } = {},
  ): Promise<void> {
    const { id, rawConfig, config } = image;
    const known = this.#records.images.has(id);
    const nothingNew = references.every((reference) => this.idOf(reference) === id) && !named;
    if (known && (references.length === 0 || nothingNew)) return;
    // Nobody looks at it before it is in the index.
    if (!known) await this.kv.put(configKey(id), rawConfig);
    await this.#change((records) => {
      if (!known) records.images.set(id, { id, config, rawConfig, chainIds: chainIdsOf(config.rootfs.diff_ids) });
      if (!known && parent !== undefined) records.parents.set(id, parent);
      if (named && references.length > 0) records.tagged.set(id, new Date());
      for (const reference of references) point(records, reference, id);
    });
  }

  /** Records which image another one was committed from. */
  async setParent(id: string, parent: string): Promise<void> {
    if (this.#records.parents.get(id) !== parent) await this.#change(({ parents }) => void parents.set(id, parent));
  }

  /** Points references (with a tag or a digest each) at an image. */
  async refer(references: Reference[], id: string): Promise<void> {
    const changed = references.filter((reference) => this.#records.references.get(lookupKey(reference))?.id !== id);
    if (changed.length === 0) return;
    await this.#change((records) => {
      for (const reference of changed) point(records, reference, id);
    });
  }

  /** Gives an image a tag at a user's request, and records the time. */
  async tag(reference: Reference, id: string): Promise<void> {
    await this.#change((records) => {
      records.tagged.set(id, new Date());
      point(records, reference, id);
    });
  }

  /** Removes one reference; does nothing if it does not exist. */
  async unrefer(reference: Reference): Promise<void> {
    const key = lookupKey(reference);
    if (this.#records.references.has(key)) await this.#change(({ references }) => void references.delete(key));
  }

  /** Removes an image's record; its references must be gone. */
  async delete(id: string): Promise<void> {
    if (!this.#records.images.has(id)) return;
    await this.#change(({ images, tagged, parents }) => {
      images.delete(id);
      parents.delete(id);
      tagged.delete(id);
    });
    // It is no longer an image: what is left of it is removed at the next start.
    await this.kv
      .delete(configKey(id))
      .catch((error: unknown) => log.warn({ image: id, reason: messageOf(error) }, 'a configuration stays'));
  }

  /**
   * Makes sure that the index on the datastore is the one that is in force. Must be called before layers are deleted: after a write that
   * failed although it was done, the index on the datastore may have an image more.
   */
  async settle(): Promise<void> {
    if (this.#unsure) await this.#change(() => undefined);
  }

  /** Removes configurations that no image has: of images that were being added or removed when the endpoint was killed. */
  async removeLeftovers(): Promise<void> {
    const needed = new Set([...this.#records.images.keys()].flatMap((id) => [configKey(id), manifestKey(id)]));
    for (const key of await this.kv.keys())
      if (/^(image|manifest)-[0-9a-f]{64}$/.test(key) && !needed.has(key))
        await this.kv
          .delete(key)
          .catch((error: unknown) => log.warn({ key, reason: messageOf(error) }, 'a record without an image stays'));
  }

  #parentOf(id: string): string | null {
    const parent = this.#records.parents.get(id);
    return parent !== undefined && this.#records.images.has(parent) ? parent : null;
  }

  #present(stored: Stored): Image {
    const references = this.referencesTo(stored.id);
    const familiar = (wanted: (reference: Reference) => boolean) =>
      references.filter(wanted).map(familiarString).sort();
    const layerSizes = stored.chainIds.map((chain) => this.layers.get(chain)?.size ?? 0);
    return {
      ...stored,
      parent: this.#parentOf(stored.id),
      taggedAt: this.#records.tagged.get(stored.id) ?? null,
      repoTags: familiar((reference) => reference.digest === undefined),
      repoDigests: familiar((reference) => reference.digest !== undefined),
      layerSizes,
      blobSizes: stored.chainIds.map((chain) => this.layers.get(chain)?.blob?.size ?? 0),
      size: layerSizes.reduce((sum, size) => sum + size, 0),
    };
  }

  /** Writes the index as it will be, then makes the change. Changes follow each other; a failed one has changed nothing. */
  #change(edit: (records: Records) => void): Promise<void> {
    const changed = this.#changing.then(async () => {
      const { images, references, tagged, parents } = this.#records;
      const next: Records = {
        images: new Map(images),
        references: new Map(references),
        tagged: new Map(tagged),
        parents: new Map(parents),
      };
      edit(next);
      this.#unsure = true;
      await this.kv.put(INDEX_KEY, Buffer.from(JSON.stringify(indexOf(next))));
      this.#unsure = false;
      this.#records = next;
      this.#referencesOf = null;
    });
    this.#changing = changed.catch(() => {});
    return changed;
  }
}

function point({ references }: Records, reference: Reference, id: string): void {
  const key = lookupKey(reference);
  references.set(key, { reference: parseReference(key), id });
}

function indexOf({ images, references, tagged, parents }: Records): z.infer<typeof indexSchema> {
  return {
    version: 1,
    images: [...images.keys()],
    references: Object.fromEntries([...references].map(([key, { id }]) => [key, id])),
    parents: Object.fromEntries(parents),
    tagged: Object.fromEntries([...tagged].map(([id, time]) => [id, time.toISOString()])),
  };
}
