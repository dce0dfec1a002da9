/** `docker rmi`: when an image may be removed, and what is removed with it (moby `daemon/images/image_delete.go`). */
import { conflict } from '../../src/common/errors.js';
import { shortId } from '../../src/common/ids.js';
import type { ImageStore } from './image-store.js';
import { familiarString, parseReference, type Reference, repositoryName, withDefaultTag } from './reference.js';
import type { ImageDeletion } from './types.js';

export interface RemovalOptions {
  force: boolean;
  usedBy(imageId: string): { id: string; running: boolean }[];
}

/** What a removal needs; the caller takes care of events and layers. */
export interface RemovalEffects {
  untagged(imageId: string): void;
  deleted(imageId: string): void;
  /** Deletes layers that no image needs any more; returns the deleted ones, topmost first. */
  releaseLayers(chainIds: string[]): Promise<string[]>;
}

/** True when `text` names the image by its id or the beginning of it. */
function isIdPrefix(id: string, text: string): boolean {
  return id.startsWith(text) || id.slice('sha256:'.length).startsWith(text);
}

/** True if there is at most one tag, and all digests are in the same repository as it. */
export function isSingleReference(references: Reference[]): boolean {
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
  const { id } = store.resolve(text);
  const records: ImageDeletion[] = [];
  const untag = async (reference: Reference): Promise<void> => {
    await store.unrefer(reference);
    records.push({ Untagged: familiarString(reference) });
  };
  const byReference = !isIdPrefix(id, text);
  if (byReference) {
    const users = options.usedBy(id);
    if (!options.force && isSingleReference(store.referencesTo(id)) && users.length > 0) {
      throw conflict(
        `conflict: unable to remove repository reference "${text}" (must force) - container ${shortId(users[0]!.id)} is using its referenced image ${shortId(id)}`,
      );
    }
    const given = withDefaultTag(parseReference(text));
    await untag(given);
    effects.untagged(id);
    if (given.digest === undefined) await dropOrphanedDigests(store, id, given, untag);
    if (store.referencesTo(id).length > 0) return records;
  } else if (isSingleReference(store.referencesTo(id))) {
    const reason = inUse(id, options);
    if (reason && (reason.hard || !options.force)) throw reason.error;
    for (const reference of store.referencesTo(id)) {
      await untag(reference);
      effects.untagged(id);
    }
  }

  const reason = referenced(store, id, options) ?? inUse(id, options);
  if (reason && (reason.hard || !options.force)) {
    // The reference is removed, as requested; the image stays without a name, for its containers.
    if (byReference && reason.used) return records;
    throw reason.error;
  }
  for (const reference of store.referencesTo(id)) {
    await untag(reference);
    effects.untagged(id);
  }
  const { chainIds } = store.get(id)!;
  await store.delete(id);
  effects.deleted(id);
  records.push({ Deleted: id });
  for (const chain of await effects.releaseLayers(chainIds)) records.push({ Deleted: chain });
  return records;
}

/** Together with a repository's last tag, the digests that it was pulled by are removed. */
async function dropOrphanedDigests(
  store: ImageStore,
  id: string,
  removed: Reference,
  untag: (reference: Reference) => Promise<void>,
): Promise<void> {
  const same = store.referencesTo(id).filter((reference) => repositoryName(reference) === repositoryName(removed));
  if (same.some((reference) => reference.digest === undefined)) return;
  for (const reference of same) await untag(reference);
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
