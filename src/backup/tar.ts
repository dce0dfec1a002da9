/** A backup as one tar: the files of a directory of backups with just this one, the backup's own file at the end. */
import { Readable } from 'node:stream';
import { invalid, messageOf } from '../common/errors.js';
import { TAR_END, TarReader, tarHeader, tarPadding } from '../disk/index.js';
import { type ChunkSink, chunkOf, chunkPath, hashOf, MAX_CHUNK_FILE, packed } from './chunks.js';
import type { BackupFiles } from './files.js';
import { BACKUP_ID, encodeManifest, MAX_MANIFEST, type Manifest } from './manifest.js';
import { MARKER_FILE, MARKER_TEXT, manifestPath } from './repository.js';

/** Writes such a tar. */
export class BackupTar implements ChunkSink {
  private readonly known = new Set<string>();
  private begun = false;
  written = 0;
  count = 0;

  /** @param write resolves when more may be written */
  constructor(private readonly write: (bytes: Buffer) => Promise<void>) {}

  async put(data: Buffer): Promise<string> {
    const hash = hashOf(data);
    if (this.known.has(hash)) return hash;
    this.known.add(hash);
    const file = await packed(data);
    this.written += file.length;
    this.count++;
    await this.file(chunkPath(hash), file);
    return hash;
  }

  /** Each was written when it was put. */
  async settled(): Promise<void> {}

  /** Its last file, without which it is nothing. */
  async add(manifest: Manifest): Promise<void> {
    await this.file(manifestPath(manifest.id), encodeManifest(manifest));
    await this.write(TAR_END);
  }

  private async file(name: string, data: Buffer): Promise<void> {
    if (!this.begun) {
      this.begun = true;
      await this.file(MARKER_FILE, MARKER_TEXT);
    }
    const mtime = Math.floor(Date.now() / 1000);
    await this.write(tarHeader({ type: '0', name, mode: 0o600, uid: 0, gid: 0, size: data.length, mtime }));
    await this.write(Buffer.concat([data, tarPadding(data.length)]));
  }
}

/** Unpacks such a tar into an empty directory. @throws invalid for one that is cut, or has anything else in it */
export async function unpackBackup(tar: AsyncIterable<Buffer>, files: BackupFiles): Promise<void> {
  const reader = new TarReader(Readable.from(tar, { objectMode: false }));
  let backups = 0;
  try {
    for (let entry = await reader.next(); entry !== null; entry = await reader.next()) {
      const name = entry.name.replace(/^\.\//, '');
      if (entry.type === 'directory') continue;
      const most = mostOf(name);
      if (entry.type !== 'file' || entry.parts !== null || most === null)
        throw invalid(`${JSON.stringify(name.slice(0, 100))} is no part of a backup`);
      if (entry.size > most) throw invalid(`${name} has ${entry.size} bytes, and can have at most ${most}`);
      const pieces: Buffer[] = [];
      // A piece is the reader's own memory, which it uses again.
      for (let piece = await reader.data(); piece !== null; piece = await reader.data())
        pieces.push(Buffer.from(piece));
      await files.remove(name);
      await files.write(name, Buffer.concat(pieces));
      if (name.startsWith('backups/')) backups++;
    }
  } catch (error) {
    throw invalid(`the backup cannot be read: ${messageOf(error)}`, error);
  }
  if (!reader.endMarked || backups === 0) throw invalid('the backup is cut off: its end is missing');
}

/** The most bytes that a file of a backup has; null for what is none. */
function mostOf(name: string): number | null {
  if (name === MARKER_FILE) return 4096;
  if (chunkOf(name) !== null) return MAX_CHUNK_FILE;
  const id = /^backups\/([^/]*)\.json$/.exec(name)?.[1];
  return id !== undefined && BACKUP_ID.test(id) ? MAX_MANIFEST : null;
}
