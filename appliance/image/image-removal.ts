/** `docker rmi`: when an image may be removed, and what is removed with it (moby `daemon/images/image_delete.go`). */
import { conflict } from '../../src/common/errors.js';
import { shortId } from '../../src/common/ids.js';
import type { ImageStore } from './image-store.js';
import { familiarString, parseReference, type Reference, repositoryName, withDefaultTag } from './reference.js';
import type { Image, ImageDeletion } from './types.js';

export interface RemovalOptions {
  force: boolean;
  /** Images without a name that this one was committed from stay. */
  noPrune: boolean;
  usedBy(imageId: string): { id: string; running: boolean }[];
}

/** What a removal needs; the caller takes care of events and layers. */
export interface RemovalEffects {
  untagged(image: Image): void;
  deleted(image: Image): void;
  /** Deletes layers that no image needs any more; returns the deleted ones, topmost first. */
  releaseLayers(chainIds: string[]): Promise<string[]>;
}

/** True when `text` names the image by its id or the beginning of it. */
function isIdPrefix(id: string, text: string): boolean {
  return id.startsWith(text) || id.slice('sha256:'.length).startsWith(text);
}

/** True if there is at most one tag, and all digests are in the same repository as it. */
export function isSingleReference(references: readonly Reference[]): boolean {
  if (references.length <= 1) return true;
  const tags = references.filter((reference) => reference.digest === undefined);
  if (tags.length > 1) return false;
  return new Set(references.map(repositoryName)).size === 1;
}

/**
 * Removes a reference, or an image together with everything that only it needs.
 * @throws notFound, conflict in Docker's words
 */
export async function removeImage(
  store: ImageStore,
  text: string,
  options: RemovalOptions,
  effects: RemovalEffects,
): Promise<ImageDeletion[]> {
  const image = store.resolve(text);
  const { id } = image;
  const records: ImageDeletion[] = [];
  const removal: Removal = { store, options, effects, records };
  const byReference = !isIdPrefix(id, text);
  if (byReference) {
    const users = options.usedBy(id);
    if (!options.force && isSingleReference(store.referencesTo(id)) && users.length > 0) {
      throw conflict(
        `conflict: unable to remove repository reference "${text}" (must force) - container ${shortId(users[0]!.id)} is using its referenced image ${shortId(id)}`,
      );
    }
    const given = withDefaultTag(parseReference(text));
    await untag(removal, given);
    effects.untagged(image);
    if (given.digest === undefined) await dropOrphanedDigests(removal, id, given);
    if (store.referencesTo(id).length > 0) return records;
  } else if (isSingleReference(store.referencesTo(id))) {
    const reason = dependent(store, id) ?? inUse(id, options);
    if (reason && (reason.hard || !options.force)) throw reason.error;
    for (const reference of store.referencesTo(id)) {
      await untag(removal, reference);
      effects.untagged(image);
    }
  }
  await removeUnused(removal, image, options.force, byReference);
  return records;
}

interface Removal {
  store: ImageStore;
  options: RemovalOptions;
  effects: RemovalEffects;
  /** What has been removed. */
  records: ImageDeletion[];
}

async function untag({ store, records }: Removal, reference: Reference): Promise<void> {
  await store.unrefer(reference);
  records.push({ Untagged: familiarString(reference) });
}

/**
 * Removes an image, and then those without a name that it was committed from and nothing else needs.
 * @param quiet what was asked for is done already: an image that is still needed stays, without an error
 */
async function removeUnused(removal: Removal, image: Image, force: boolean, quiet: boolean): Promise<void> {
  const { store, options, effects, records } = removal;
  const { id, parent, chainIds } = image;
  const reason = dependent(store, id) ?? referenced(store, id, options) ?? inUse(id, options);
  if (reason && (reason.hard || !force)) {
    const dangling = store.referencesTo(id).length === 0 && store.childrenOf(id).length === 0;
    if (quiet && (!dangling || reason.used)) return;
    throw reason.error;
  }
  for (const reference of store.referencesTo(id)) {
    await untag(removal, reference);
    effects.untagged(image);
  }
  await store.delete(id);
  effects.deleted(image);
  records.push({ Deleted: id });
  for (const chain of await effects.releaseLayers(chainIds)) records.push({ Deleted: chain });
  const next = options.noPrune || parent === null ? undefined : store.get(parent);
  if (next !== undefined) await removeUnused(removal, next, false, true);
}

/** Together with a repository's last tag, the digests that it was pulled by are removed. */
async function dropOrphanedDigests(removal: Removal, id: string, removed: Reference): Promise<void> {
  const same = removal.store
    .referencesTo(id)
    .filter((reference) => repositoryName(reference) === repositoryName(removed));
  if (same.some((reference) => reference.digest === undefined)) return;
  for (const reference of same) await untag(removal, reference);
}

interface Obstacle {
  /** Not even force helps. */
  hard: boolean;
  /** By a container. */
  used: boolean;
  error: Error;
}

const obstacle = (id: string, hard: boolean, used: boolean, message: string): Obstacle => ({
  hard,
  used,
  error: conflict(
    `conflict: unable to delete ${shortId(id)} (${hard ? 'cannot be forced' : 'must be forced'}) - ${message}`,
  ),
});

function dependent(store: ImageStore, id: string): Obstacle | undefined {
  if (store.childrenOf(id).length === 0) return undefined;
  return obstacle(id, true, false, 'image has dependent child images');
}

function inUse(id: string, options: RemovalOptions): Obstacle | undefined {
  const users = options.usedBy(id);
  const running = users.find((user) => user.running);
  if (running) return obstacle(id, true, true, `image is being used by running container ${shortId(running.id)}`);
  const stopped = users[0];
  if (stopped) return obstacle(id, false, true, `image is being used by stopped container ${shortId(stopped.id)}`);
  return undefined;
}

function referenced(store: ImageStore, id: string, options: RemovalOptions): Obstacle | undefined {
  // Docker looks for running containers first: those can't be forced.
  if (options.usedBy(id).some((user) => user.running)) return undefined;
  if (store.referencesTo(id).length === 0) return undefined;
  return obstacle(id, false, false, 'image is referenced in multiple repositories');
}
