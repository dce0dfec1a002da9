/**
 * A directory of backups.
 *
 *     caisson-backup.json            says that it is one
 *     chunks/ab/<sha256>.gz          content, see `chunks.ts`
 *     backups/<id>.json              a backup: written last, in one step
 *     drafts/…                       files that are being written
 *     lock                           who is changing it
 *
 * A backup that is there is whole: its file comes after everything that it names. What a killed program leaves is chunks that no backup names, and drafts; both go
 * with the next `remove`. Chunks are removed after the backups that name them, and only if every backup that stays can be read.
 */
import { hostname } from 'node:os';
import { conflict, errnoOf, invalid, messageOf, notFound, unsupported } from '../common/errors.js';
import { ChunkDirectory, chunkOf, chunkPath } from './chunks.js';
import { type Content, entriesOf } from './content.js';
import { type BackupFiles, DRAFTS, writeWhole } from './files.js';
import { BACKUP_ID, decodeManifest, encodeManifest, FORMAT, MAX_MANIFEST, type Manifest } from './manifest.js';

const MARKER = 'caisson-backup.json';
const LOCK = 'lock';
export const MARKER_TEXT = Buffer.from(`${JSON.stringify({ format: FORMAT })}\n`);
export const MARKER_FILE = MARKER;
export const manifestPath = (id: string): string => `backups/${id}.json`;

/** A backup that cannot be read. */
export interface UnreadableBackup {
  id: string;
  reason: string;
}

/** Something wrong with a backup. */
export interface BackupProblem {
  backup: string;
  /** `volume db`, `container web`, `image busybox` */
  what: string;
  problem: string;
}

export class Repository {
  readonly chunks: ChunkDirectory;

  private constructor(private readonly files: BackupFiles) {
    this.chunks = new ChunkDirectory(files);
  }

  /** @param make make one of an empty directory @throws invalid, unsupported for a directory that is none */
  static async open(files: BackupFiles, { make }: { make: boolean }): Promise<Repository> {
    if ((await files.size(MARKER)) === null) {
      const others = (await files.list('.')).filter((name) => name !== DRAFTS);
      if (others.length > 0) throw invalid('the directory is not empty, and is no directory of backups');
      if (!make) throw notFound('there are no backups in this directory');
      await writeWhole(files, MARKER, MARKER_TEXT);
    }
    await checkMarker(await files.read(MARKER, 4096));
    return new Repository(files);
  }

  /** All backups, the oldest first. */
  async list(): Promise<{ backups: Manifest[]; unreadable: UnreadableBackup[] }> {
    const ids = (await this.files.list('backups')).flatMap((name) => {
      const id = name.replace(/\.json$/, '');
      return name.endsWith('.json') && BACKUP_ID.test(id) ? [id] : [];
    });
    const backups: Manifest[] = [];
    const unreadable: UnreadableBackup[] = [];
    for (const id of ids.sort())
      await this.read(id).then(
        (manifest) => backups.push(manifest),
        (error: unknown) => unreadable.push({ id, reason: messageOf(error) }),
      );
    return { backups, unreadable };
  }

  /** @throws notFound, invalid, unsupported */
  async read(id: string): Promise<Manifest> {
    if (!BACKUP_ID.test(id)) throw notFound(`there is no backup '${id.slice(0, 80)}'`);
    let manifest: Manifest;
    try {
      manifest = decodeManifest(await this.files.read(manifestPath(id), MAX_MANIFEST));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') throw notFound(`there is no backup '${id}'`);
      throw invalid(`backup ${id} cannot be read: ${messageOf(error)}`, error);
    }
    if (manifest.id !== id) throw invalid(`backup ${id} cannot be read: it says that it is ${manifest.id}`);
    return manifest;
  }

  /** Makes a backup known, after everything that it names. */
  async add(manifest: Manifest): Promise<void> {
    await this.chunks.settled();
    const path = manifestPath(manifest.id);
    const draft = `${DRAFTS}/${manifest.id}.json`;
    await this.files.write(draft, encodeManifest(manifest));
    await this.files.sync(draft);
    await this.files.rename(draft, path);
    await this.files.sync('backups');
  }

  /** Runs `body` as the only one that changes the directory. @throws conflict */
  async locked<T>(body: () => Promise<T>): Promise<T> {
    const own = JSON.stringify({ host: hostname(), pid: process.pid });
    for (let attempt = 1; ; attempt++)
      try {
        await this.files.write(LOCK, Buffer.from(own));
        break;
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error;
        const holder = await this.files.read(LOCK, 4096).then(String, () => '');
        if (attempt > 1 || !isGone(holder))
          throw conflict(
            `another program works on these backups (${holder}); if it does not, remove the file ${LOCK} there`,
          );
        await this.files.remove(LOCK);
      }
    try {
      return await body();
    } finally {
      await this.files.remove(LOCK);
    }
  }

  /**
   * Removes backups, and then what no other one needs. Call it {@link locked}. @returns how many chunks were removed
   * @throws invalid if another backup cannot be read: then nothing is removed, since nobody knows what that needs
   */
  async remove(ids: string[]): Promise<number> {
    const { backups, unreadable } = await this.list();
    for (const id of ids) {
      const known = backups.some((one) => one.id === id) || unreadable.some((one) => one.id === id);
      if (!known) throw notFound(`there is no backup '${id}'`);
    }
    const other = unreadable.find(({ id }) => !ids.includes(id));
    if (other !== undefined)
      throw invalid(`${other.reason}; nothing is removed as long as it is not known what it needs`);
    const needed = new Set<string>();
    for (const backup of backups)
      if (!ids.includes(backup.id)) for await (const hash of this.hashesOf(backup)) needed.add(hash);
    for (const id of ids) await this.files.remove(manifestPath(id));
    // Only then: a backup whose chunks go first would be there and not whole.
    if (ids.length > 0) await this.files.sync('backups');
    for (const name of await this.files.list(DRAFTS)) await this.files.remove(`${DRAFTS}/${name}`);
    let removed = 0;
    for (const directory of await this.files.list('chunks'))
      for (const name of await this.files.list(`chunks/${directory}`)) {
        const hash = chunkOf(`chunks/${directory}/${name}`);
        if (hash === null || needed.has(hash)) continue;
        await this.files.remove(chunkPath(hash));
        removed++;
      }
    return removed;
  }

  /** Every chunk that a backup names. @throws invalid if a list of them is damaged */
  private async *hashesOf(backup: Manifest): AsyncGenerator<string> {
    for (const { what, content } of contentsOf(backup)) {
      for (const { chunk } of content.parts) yield chunk;
      try {
        for await (const { hash } of entriesOf(content, this.chunks)) yield hash;
      } catch (error) {
        throw invalid(`backup ${backup.id}: ${what}: ${messageOf(error)}`, error);
      }
    }
  }

  /** Reads everything of some backups, each chunk once. @param seen told of each chunk */
  async check(backups: Manifest[], seen: (chunks: number) => void = () => undefined): Promise<BackupProblem[]> {
    const problems: BackupProblem[] = [];
    /** Null: it is as it was written. */
    const verdicts = new Map<string, string | null>();
    const verdict = async (hash: string): Promise<string | null> => {
      const known = verdicts.get(hash);
      if (known !== undefined) return known;
      const found = await this.chunks.get(hash).then(() => null, messageOf);
      verdicts.set(hash, found);
      seen(verdicts.size);
      return found;
    };
    for (const backup of backups)
      for (const { what, content } of contentsOf(backup)) {
        const add = (problem: string): number => problems.push({ backup: backup.id, what, problem });
        try {
          for await (const { hash } of entriesOf(content, this.chunks)) {
            const problem = await verdict(hash);
            if (problem !== null) add(problem);
          }
        } catch (error) {
          add(messageOf(error));
        }
      }
    return problems;
  }

  /** Whether all chunks of a content are there, without reading them. */
  async holds(content: Content): Promise<boolean> {
    try {
      for await (const { hash } of entriesOf(content, this.chunks)) if (!(await this.chunks.has(hash))) return false;
      return true;
    } catch {
      return false;
    }
  }
}

/** All contents that a backup names, with their owners. */
export function contentsOf({ volumes, containers, images }: Manifest): { what: string; content: Content }[] {
  return [
    ...volumes.flatMap(({ name, disk }) => (disk === null ? [] : [{ what: `volume ${name}`, content: disk.content }])),
    ...containers.map(({ name, changes }) => ({ what: `container ${name}`, content: changes })),
    ...images.flatMap(({ id, tags, archive }) =>
      archive === null ? [] : [{ what: `image ${tags[0] ?? id}`, content: archive }],
    ),
  ];
}

function checkMarker(text: Buffer): void {
  let format: unknown;
  try {
    format = (JSON.parse(text.toString('utf8')) as { format?: unknown } | null)?.format;
  } catch {
    // Then it is not this one either.
  }
  if (typeof format !== 'number') throw invalid(`${MARKER} is damaged`);
  if (format !== FORMAT) throw unsupported(`these backups have the format ${format}; this program knows ${FORMAT}`);
}

/** Whether the program that wrote a lock was one of this machine, and has ended. */
function isGone(holder: string): boolean {
  try {
    const { host, pid } = JSON.parse(holder) as { host?: unknown; pid?: unknown };
    if (host !== hostname() || typeof pid !== 'number') return false;
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return errnoOf(error) === 'ESRCH';
  }
}
