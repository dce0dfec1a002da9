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

/** See the file's head. */
export class ImageStore {
  #images = new Map<string, Stored>();
  #references = new Map<string, { reference: Reference; id: string }>();
  #tagged = new Map<string, Date>();
  #parents = new Map<string, string>();
  #saving: Promise<void> = Promise.resolve();

  private constructor(
    private readonly kv: KeyValueStore,
    private readonly layers: LayerStore,
  ) {}

  /** Reads the records. An image whose configuration or layers are gone is dropped: it can be pulled again. */
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
    for (const id of index.images) {
      try {
        store.#images.set(id, await store.#load(id));
      } catch (error) {
        log.error({ image: id, reason: messageOf(error) }, 'image dropped');
      }
    }
    for (const [name, id] of Object.entries(index.references)) {
      if (store.#images.has(id)) store.#references.set(name, { reference: parseReference(name), id });
    }
    for (const [id, time] of Object.entries(index.tagged ?? {}))
      if (store.#images.has(id)) store.#tagged.set(id, new Date(time));
    for (const [id, parent] of Object.entries(index.parents ?? store.#configuredParents()))
      if (store.#images.has(id)) store.#parents.set(id, parent);
    return store;
  }

  async #load(id: string): Promise<Stored> {
    const rawConfig = await this.kv.get(configKey(id));
    if (!rawConfig) throw internal('its configuration is missing');
    if (`sha256:${sha256(rawConfig)}` !== id) throw internal('its configuration is damaged');
    const config = parseConfig(rawConfig);
    const chainIds = chainIdsOf(config.rootfs.diff_ids);
    const missing = chainIds.find((chain) => !this.layers.has(chain));
    if (missing) throw internal(`its layer ${missing} is missing`);
    return { id, config, rawConfig, chainIds };
  }

  /** The parents that configurations name. A pulled image has none, whatever it says. */
  #configuredParents(): Record<string, string> {
    return Object.fromEntries(
      [...this.#images.values()].flatMap(({ id, config: { parent } }) =>
        parent !== undefined && this.referencesTo(id).every(({ digest }) => digest === undefined) ? [[id, parent]] : [],
      ),
    );
  }

  /** Newest first, in the order of `docker images`. */
  list(): Image[] {
    const created = (image: Image) => Date.parse(image.config.created ?? '') || 0;
    return [...this.#images.values()].map((stored) => this.#present(stored)).sort((a, b) => created(b) - created(a));
  }

  get(id: string): Image | undefined {
    const stored = this.#images.get(id);
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
    return this.#references.get(lookupKey(reference))?.id;
  }

  #search(prefix: string): string | undefined {
    const hex = prefix.replace(/^sha256:/, '');
    if (!/^[0-9a-f]+$/.test(hex)) return undefined;
    const found = [...this.#images.keys()].filter((id) => id.startsWith(`sha256:${hex}`));
    return found.length === 1 ? found[0] : undefined;
  }

  /** References to an image, in the order of their normal form. */
  referencesTo(id: string): Reference[] {
    return [...this.#references]
      .filter(([, entry]) => entry.id === id)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, entry]) => entry.reference);
  }

  /** The images that were committed from an image. */
  childrenOf(id: string): string[] {
    return [...this.#parents].flatMap(([child, parent]) => (parent === id && this.#images.has(child) ? [child] : []));
  }

  /** Chain ids that stored images need. */
  usedChainIds(): Set<string> {
    return new Set([...this.#images.values()].flatMap((image) => image.chainIds));
  }

  /** Diff ids of the layers of stored images. */
  usedDiffIds(): Set<string> {
    return new Set([...this.#images.values()].flatMap(({ config }) => config.rootfs.diff_ids));
  }

  /**
   * Records an image whose layers are in the store.
   * @param parent the image that it was committed from; without one, what is known of an image stays
   */
  async add(id: string, rawConfig: Buffer, config: ImageConfig, parent?: string): Promise<void> {
    const known = this.#images.has(id);
    if (known && (parent === undefined || this.#parents.get(id) === parent)) return;
    if (!known) await this.kv.put(configKey(id), rawConfig);
    this.#images.set(id, { id, config, rawConfig, chainIds: chainIdsOf(config.rootfs.diff_ids) });
    if (parent !== undefined) this.#parents.set(id, parent);
    await this.#save();
  }

  /** Points references (with a tag or a digest each) at an image. */
  async refer(references: Reference[], id: string): Promise<void> {
    let changed = false;
    for (const reference of references) {
      const key = lookupKey(reference);
      if (this.#references.get(key)?.id === id) continue;
      this.#references.set(key, { reference: parseReference(key), id });
      changed = true;
    }
    if (changed) await this.#save();
  }

  /** Gives an image a tag at a user's request, and records the time. */
  async tag(reference: Reference, id: string): Promise<void> {
    this.#tagged.set(id, new Date());
    const key = lookupKey(reference);
    this.#references.set(key, { reference: parseReference(key), id });
    await this.#save();
  }

  /** Removes one reference; does nothing if it does not exist. */
  async unrefer(reference: Reference): Promise<void> {
    if (this.#references.delete(lookupKey(reference))) await this.#save();
  }

  /** Removes an image's record; its references must be gone. */
  async delete(id: string): Promise<void> {
    if (!this.#images.delete(id)) return;
    this.#tagged.delete(id);
    this.#parents.delete(id);
    await this.#save();
    await this.kv.delete(configKey(id));
  }

  #parentOf(id: string): string | null {
    const parent = this.#parents.get(id);
    return parent !== undefined && this.#images.has(parent) ? parent : null;
  }

  #present(stored: Stored): Image {
    const references = this.referencesTo(stored.id);
    const familiar = (wanted: (reference: Reference) => boolean) =>
      references.filter(wanted).map(familiarString).sort();
    const layerSizes = stored.chainIds.map((chain) => this.layers.get(chain)?.size ?? 0);
    return {
      ...stored,
      parent: this.#parentOf(stored.id),
      taggedAt: this.#tagged.get(stored.id) ?? null,
      repoTags: familiar((reference) => reference.digest === undefined),
      repoDigests: familiar((reference) => reference.digest !== undefined),
      layerSizes,
      size: layerSizes.reduce((sum, size) => sum + size, 0),
    };
  }

  /** Writes the index in its state when its turn comes, so that writes never overtake each other. */
  #save(): Promise<void> {
    const saved = this.#saving.then(() => {
      const index: z.infer<typeof indexSchema> = {
        version: 1,
        images: [...this.#images.keys()],
        references: Object.fromEntries([...this.#references].map(([key, { id }]) => [key, id])),
        parents: Object.fromEntries(this.#parents),
        tagged: Object.fromEntries([...this.#tagged].map(([id, time]) => [id, time.toISOString()])),
      };
      return this.kv.put(INDEX_KEY, Buffer.from(JSON.stringify(index)));
    });
    this.#saving = saved.catch(() => {});
    return saved;
  }
}
