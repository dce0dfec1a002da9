/**
 * Where layers are known to be: the compressed blobs in registries that a layer came from or was pushed to. A push need not send what the
 * registry has (moby `distribution/metadata/v2_metadata_service.go` is the like). Kept in the key-value store: `blob-sources`.
 */
import { z } from 'zod';
import type { KeyValueStore } from '../../../port-layer/index.js';
import { messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';

const log = logger('image');
const KEY = 'blob-sources';
/** For each layer; the newest ones stay. */
const MAX_SOURCES = 8;

const sourceSchema = z.object({
  /** Domain of the registry, as in a reference. */
  registry: z.string(),
  repository: z.string(),
  digest: z.string(),
  /** Bytes, compressed. */
  size: z.number(),
  mediaType: z.string(),
});
const keptSchema = z.object({ version: z.literal(1), layers: z.record(z.string(), z.array(sourceSchema)) });

export type BlobSource = z.infer<typeof sourceSchema>;

/** See the file's head. By diff id: what is in a layer does not depend on what is below it. */
export class BlobSources {
  #layers = new Map<string, BlobSource[]>();
  #saving: Promise<void> = Promise.resolve();

  private constructor(private readonly kv: KeyValueStore) {}

  /** Only spares work, so a record that cannot be read counts as none. */
  static async open(kv: KeyValueStore): Promise<BlobSources> {
    const sources = new BlobSources(kv);
    const data = await kv.get(KEY);
    if (data === undefined) return sources;
    try {
      const { layers } = keptSchema.parse(JSON.parse(data.toString('utf8')));
      sources.#layers = new Map(Object.entries(layers));
    } catch (error) {
      log.warn({ reason: messageOf(error) }, 'the record of where layers came from cannot be read');
    }
    return sources;
  }

  /** The newest first. */
  of(diffId: string): readonly BlobSource[] {
    return this.#layers.get(diffId) ?? [];
  }

  /** @param needed diff ids of all stored images: others are forgotten */
  async add(found: [diffId: string, source: BlobSource][], needed: ReadonlySet<string>): Promise<void> {
    for (const [diffId, source] of found) {
      const others = this.of(diffId).filter(
        (one) =>
          !(one.registry === source.registry && one.repository === source.repository && one.digest === source.digest),
      );
      this.#layers.set(diffId, [source, ...others].slice(0, MAX_SOURCES));
    }
    for (const diffId of this.#layers.keys()) if (!needed.has(diffId)) this.#layers.delete(diffId);
    await this.#save();
  }

  /** Writes of its state when their turn comes never overtake each other. */
  #save(): Promise<void> {
    const saved = this.#saving.then(() => {
      const kept: z.infer<typeof keptSchema> = { version: 1, layers: Object.fromEntries(this.#layers) };
      return this.kv.put(KEY, Buffer.from(JSON.stringify(kept)));
    });
    this.#saving = saved.catch(() => undefined);
    return saved;
  }
}
