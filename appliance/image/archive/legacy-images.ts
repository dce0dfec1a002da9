/**
 * Images in an archive of Docker before 1.10: a directory for each layer, with its `json` (image-spec v1) and its `layer.tar`, and
 * `repositories` with the tags. Such an image has no configuration of today's kind: one is made, as Docker makes it (moby
 * `image/tarexport/load.go`, `image/v1/imagev1.go`), so that it has the same id there and here.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { insufficientResources, invalid } from '../../../src/common/errors.js';
import { openTar } from '../layer-reader.js';
import { CONFIG_SIZE_MAX, LAYERS_MAX } from '../manifest.js';
import type { ArchivedImage } from './archived-image.js';
import type { ArchiveMembers } from './members.js';

const REPOSITORIES_MAX = 1 << 20;
/** What only the old form has. */
const DROPPED = new Set(['id', 'parent', 'Size', 'parent_id', 'layer_id', 'throwaway']);

/** By repository and tag, the id of the uppermost layer. */
const repositoriesSchema = z.record(z.string(), z.record(z.string(), z.string()));

/** What of a layer's `json` is used. */
const layerSchema = z.object({
  parent: z.string().optional(),
  author: z.string().optional(),
  created: z.string().optional(),
  comment: z.string().optional(),
  container_config: z.object({ Cmd: z.array(z.string()).nullish() }).nullish(),
});

interface LegacyJson {
  used: z.infer<typeof layerSchema>;
  /** All of it, with the names in their order. */
  all: object;
}

/** A layer, with the ones below it. */
interface LegacyLayer {
  json: LegacyJson;
  /** Lowest first. */
  layers: string[];
  diffIds: string[];
  history: object[];
}

/** The tagged images; if there is no tag, those that no other one is made on. @throws invalid, notFound, cancelled */
export async function legacyImages(members: ArchiveMembers, signal?: AbortSignal): Promise<ArchivedImage[]> {
  const reader = new LegacyReader(members, signal);
  const tags = await tagsIn(members);
  if (tags.size === 0) for (const id of await reader.uppermost()) tags.set(id, []);
  const images: ArchivedImage[] = [];
  for (const [id, names] of tags) {
    if (members.find(`${id}/json`) === null) throw invalid(`invalid target ID: ${id}`);
    const layer = await reader.read(id);
    images.push({ config: { made: configurationOf(layer) }, layers: layer.layers, tags: names });
  }
  return images;
}

async function tagsIn(members: ArchiveMembers): Promise<Map<string, string[]>> {
  const tags = new Map<string, string[]>();
  if (members.find('repositories') === null) return tags;
  const repositories = parse(
    await members.text('repositories', REPOSITORIES_MAX),
    repositoriesSchema,
    'the repositories in the archive are malformed',
  );
  for (const [name, byTag] of Object.entries(repositories))
    for (const [tag, id] of Object.entries(byTag)) tags.set(id, [...(tags.get(id) ?? []), `${name}:${tag}`]);
  return tags;
}

/** Reads each layer once, however many images have it. */
class LegacyReader {
  private readonly known = new Map<string, LegacyLayer>();

  constructor(
    private readonly members: ArchiveMembers,
    private readonly signal: AbortSignal | undefined,
  ) {}

  async uppermost(): Promise<string[]> {
    const ids = this.members.names().flatMap((name) => (name.endsWith('/json') ? name.slice(0, -'/json'.length) : []));
    const parents = new Set<string | undefined>();
    for (const id of ids) parents.add((await this.json(id)).used.parent);
    return ids.filter((id) => !parents.has(id));
  }

  private async json(id: string): Promise<LegacyJson> {
    const text = await this.members.text(`${id}/json`, CONFIG_SIZE_MAX);
    const used = parse(text, layerSchema, `the configuration of ${id} in the archive is malformed`);
    return { used, all: JSON.parse(text.toString('utf8')) as object };
  }

  async read(id: string): Promise<LegacyLayer> {
    const missing: { id: string; json: LegacyJson }[] = [];
    let below: LegacyLayer | undefined;
    for (let next: string | undefined = id; next !== undefined && next !== ''; ) {
      below = this.known.get(next);
      if (below !== undefined) break;
      // Also ends with layers that are each other's parents.
      if (missing.length > LAYERS_MAX)
        throw invalid(`${id} in the archive has more than ${LAYERS_MAX} layers below it`);
      const json = await this.json(next);
      missing.push({ id: next, json });
      next = json.used.parent;
    }
    for (const { id: own, json } of missing.reverse()) {
      const name = `${own}/layer.tar`;
      const member = this.members.find(name);
      if (member === null) throw invalid(`open ${name}: no such file or directory`);
      const diffId = await digestOf(member.path, this.members.largest, this.signal);
      below = {
        json,
        layers: [...(below?.layers ?? []), name],
        diffIds: [...(below?.diffIds ?? []), diffId],
        history: [...(below?.history ?? []), historyOf(json.used)],
      };
      this.known.set(own, below);
    }
    return below!;
  }
}

function parse<T>(text: Buffer, schema: z.ZodType<T>, words: string): T {
  try {
    return schema.parse(JSON.parse(text.toString('utf8')));
  } catch (error) {
    throw invalid(words, error);
  }
}

/** The digest of a layer's tar, which may be compressed. */
async function digestOf(path: string, largest: number, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash('sha256');
  let size = 0;
  const tar = await openTar(path, () => undefined);
  try {
    for await (const piece of tar) {
      signal?.throwIfAborted();
      size += piece.length;
      if (size > largest) throw insufficientResources(`a layer in the archive has more than ${largest} bytes`);
      hash.update(piece);
    }
  } finally {
    tar.destroy();
  }
  return `sha256:${hash.digest('hex')}`;
}

function historyOf({ created, author, container_config: container, comment }: LegacyJson['used']): object {
  const command = container?.Cmd?.join(' ') ?? '';
  return {
    ...(created === undefined ? {} : { created }),
    ...(command === '' ? {} : { created_by: command }),
    ...(author ? { author } : {}),
    ...(comment ? { comment } : {}),
  };
}

/** Docker sorts the names at the top, and leaves the values as they are. */
function configurationOf({ json, diffIds, history }: LegacyLayer): Buffer {
  const fields = Object.entries(json.all).filter(
    ([name]) => !DROPPED.has(name) && name !== 'rootfs' && name !== 'history',
  );
  const all: [string, unknown][] = [...fields, ['rootfs', { type: 'layers', diff_ids: diffIds }], ['history', history]];
  return Buffer.from(goJson(Object.fromEntries(all.sort(([a], [b]) => (a < b ? -1 : 1)))));
}

/** As Go writes it: what could be read as HTML is escaped. */
function goJson(value: unknown): string {
  const escaped = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, escaped);
}
