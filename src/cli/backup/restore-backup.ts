/** Restores a backup, or parts of it, into a virtual container host. */
import { z } from 'zod';
import {
  type BackedUpImage,
  type Content,
  dataOf,
  type Manifest,
  type Repository,
  volumeDisk,
} from '../../backup/index.js';
import { cancelled, invalid, isKind, messageOf, unavailable } from '../../common/errors.js';
import { imageAnswer, imagesAnswer, networksAnswer, volumesAnswer } from './docker-answers.js';
import {
  type PlannedContainer,
  type Present,
  type RestorePlan,
  type RestoreSelection,
  restorePlan,
} from './restore-plan.js';
import type { VchApi } from './vch-api.js';

const TAR = 'application/x-tar';

export interface RestoreOptions {
  manifest: Manifest;
  repository: Repository;
  selection: RestoreSelection;
  /** What was made is removed again. */
  signal: AbortSignal;
  /** Tells of each step. */
  progress(what: string): void;
}

/**
 * Everything that is to be restored is read and checked first, and names that are taken are refused. If a later step fails, what was made is
 * removed again. @returns what was made @throws invalid for a damaged backup; conflict; what the host answers
 */
export async function restoreBackup(api: VchApi, options: RestoreOptions): Promise<RestorePlan> {
  const { manifest, selection, signal, progress } = options;
  const plan = restorePlan(manifest, selection, await presentIn(api));
  progress('Checking the backup');
  await checkContents(options, plan);
  const undo: { what: string; path: string }[] = [];
  const step = async (what: string, make: () => Promise<string | null>): Promise<void> => {
    if (signal.aborted) throw cancelled('interrupted');
    progress(`Restoring ${what}`);
    const path = await make();
    if (path !== null) undo.push({ what, path });
  };
  try {
    for (const image of plan.images)
      await step(`image ${image.tags[0] ?? image.id}`, () => restoreImage(api, options, image));
    for (const network of plan.networks)
      await step(`network ${network.Name}`, async () => {
        await api.ask('POST', '/networks/create', network);
        return `/networks/${encodeURIComponent(network.Name)}`;
      });
    for (const one of plan.volumes) await step(`volume ${one.name}`, () => restoreVolume(api, options, one));
    for (const one of plan.containers) await step(`container ${one.name}`, () => restoreContainer(api, options, one));
  } catch (error) {
    const left: string[] = [];
    for (const { what, path } of undo.reverse())
      await api.ask('DELETE', path).catch((failure: unknown) => {
        if (!isKind(failure, 'notFound')) left.push(`${what} (${messageOf(failure)})`);
      });
    if (left.length === 0) throw error;
    throw unavailable(`${messageOf(error)}; what was made and could not be removed again: ${left.join(', ')}`, error);
  }
  return plan;
}

async function presentIn(api: VchApi): Promise<Present> {
  const { Volumes } = volumesAnswer.parse(await api.ask('GET', '/volumes'));
  const containers = z
    .array(z.object({ Names: z.array(z.string()) }))
    .parse(await api.ask('GET', '/containers/json?all=1'));
  const networks = networksAnswer.parse(await api.ask('GET', '/networks'));
  const images = imagesAnswer.parse(await api.ask('GET', '/images/json?all=1'));
  return {
    volumes: new Set((Volumes ?? []).map(({ Name }) => Name)),
    containers: new Set(containers.flatMap(({ Names }) => Names.map((name) => name.replace(/^\//, '')))),
    networks: new Set(networks.map(({ Name }) => Name)),
    images: new Set(images.map(({ Id }) => Id)),
  };
}

/** Reads all that is to be restored, before anything is made. @throws invalid, naming each damaged chunk */
async function checkContents({ manifest, repository, progress }: RestoreOptions, plan: RestorePlan): Promise<void> {
  const part: Manifest = {
    ...manifest,
    images: plan.images,
    volumes: plan.volumes.map(({ volume }) => volume),
    containers: plan.containers.map(({ container }) => container),
  };
  const problems = await repository.check([part], (chunks) => {
    if (chunks % 100 === 0) progress(`Checking the backup: ${chunks} chunks`);
  });
  if (problems.length === 0) return;
  const some = problems.slice(0, 5).map(({ what, problem }) => `${what}: ${problem}`);
  const more = problems.length > some.length ? `; and ${problems.length - some.length} more` : '';
  throw invalid(`backup ${manifest.id} is damaged, and nothing was restored: ${some.join('; ')}${more}`);
}

async function* bytesOf(
  content: Content,
  { repository, signal }: RestoreOptions,
  what: string,
): AsyncGenerator<Buffer> {
  for await (const { data } of dataOf(content, repository.chunks, what)) {
    if (signal.aborted) throw cancelled('interrupted');
    yield data;
  }
}

async function* unlessInterrupted(content: AsyncIterable<Buffer>, signal: AbortSignal): AsyncGenerator<Buffer> {
  for await (const piece of content) {
    if (signal.aborted) throw cancelled('interrupted');
    yield piece;
  }
}

/** From the backup, or else from where it was pulled. @returns how it is removed again */
async function restoreImage(api: VchApi, options: RestoreOptions, image: BackedUpImage): Promise<string> {
  const { id, archive, digests, tags } = image;
  if (archive !== null) {
    const answer = await api.send('POST', '/images/load?quiet=1', bytesOf(archive, options, `image ${id}`), TAR);
    checkMessages(answer, id);
  } else await pull(api, id, digests);
  // What came must be what was asked for.
  const found = imageAnswer.parse(
    await api.ask('GET', `/images/${encodeURIComponent(id)}/json`).catch((error: unknown) => {
      throw isKind(error, 'notFound') ? unavailable(`what came is not the image ${id}`, error) : error;
    }),
  );
  for (const tag of tags) {
    const at = tag.lastIndexOf(':');
    const query = new URLSearchParams({ repo: tag.slice(0, at), tag: tag.slice(at + 1) });
    const taken = await api.ask('GET', `/images/${encodeURIComponent(tag)}/json`).catch(() => null);
    // A name that means another image by now is left to that.
    if (taken === null) await api.ask('POST', `/images/${encodeURIComponent(found.Id)}/tag?${query}`);
  }
  return `/images/${encodeURIComponent(id)}?force=1`;
}

/** @throws unavailable if no registry has it */
async function pull(api: VchApi, id: string, digests: string[]): Promise<void> {
  const problems: string[] = [];
  for (const digest of digests)
    try {
      const query = new URLSearchParams({ fromImage: digest });
      let text = '';
      for await (const piece of await api.read('POST', `/images/create?${query}`)) text += String(piece);
      checkMessages(text, id);
      return;
    } catch (error) {
      problems.push(`${digest}: ${messageOf(error)}`);
    }
  throw unavailable(`image ${id} cannot be pulled: ${problems.join('; ')}`);
}

/** Docker's messages tell of errors within an answer that has begun well. */
function checkMessages(text: string, id: string): void {
  const failed = /^.*"error":.*$/m.exec(text)?.[0];
  if (failed === undefined) return;
  let words = failed;
  try {
    words = String((JSON.parse(failed) as { error?: unknown }).error);
  } catch {
    // Then the line itself says it.
  }
  throw unavailable(`image ${id}: ${words}`);
}

async function restoreVolume(
  api: VchApi,
  { repository, signal }: RestoreOptions,
  { volume, name }: RestorePlan['volumes'][number],
): Promise<string> {
  const { driver: Driver, options: DriverOpts, labels: Labels, disk } = volume;
  const description = { Driver, DriverOpts, Labels };
  const path = `/volumes/${encodeURIComponent(name)}`;
  if (disk === null) await api.ask('POST', '/volumes/create', { Name: name, ...description });
  else {
    const query = new URLSearchParams({ volume: JSON.stringify(description) });
    const content = unlessInterrupted(volumeDisk(volume.name, disk, repository.chunks), signal);
    await api.send('POST', `/caisson${path}/import?${query}`, content, 'application/octet-stream');
  }
  return path;
}

/** Makes it, and gives it its files. It is removed again by its id: its name may be somebody else's by then. */
async function restoreContainer(
  api: VchApi,
  options: RestoreOptions,
  { container, name, body, anonymous }: PlannedContainer,
): Promise<string> {
  const image = body.Image;
  const named =
    typeof image === 'string' &&
    (await api.ask('GET', `/images/${encodeURIComponent(image)}/json`).then(
      (answer) => imageAnswer.parse(answer).Id === container.image,
      () => false,
    ));
  const { Id } = imageAnswer.parse(
    await api.ask('POST', `/containers/create?${new URLSearchParams({ name })}`, {
      ...body,
      ...(named ? {} : { Image: container.image }),
    }),
  );
  const path = `/containers/${Id}`;
  try {
    const query = new URLSearchParams({ anonymous: anonymous.join(',') });
    const changes = bytesOf(container.changes, options, `container ${container.name}`);
    await api.send('PUT', `/caisson/backup${path}/changes?${query}`, changes, TAR);
  } catch (error) {
    await api.ask('DELETE', path).catch(() => undefined);
    throw error;
  }
  return path;
}
