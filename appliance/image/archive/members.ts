/**
 * The files of an archive that a client sends, unpacked to numbered files in a directory of their own. Names are only names: nothing of the
 * archive decides where anything is written.
 */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { type Grow, type TarEntry, TarReader, withoutRoom } from '../../../port-layer/index.js';
import { insufficientResources, invalid, notFound } from '../../../src/common/errors.js';

/** An image of 125 layers has some 400 entries. */
const MAX_ENTRIES = 100_000;
const MAX_LINKS = 40;

/** A file of the archive, where it was unpacked to. */
export interface Member {
  path: string;
  /** Bytes. */
  size: number;
}

/** What an archive may take. */
export interface MemberLimits {
  /** Asked before more is written. */
  grow: Grow;
  /** Bytes of one file. */
  largest: number;
}

/** An archive's files by name. Must be closed, which removes them. */
export class ArchiveMembers {
  /** Names have one character per byte, without `.`, `..` and slashes at the ends. */
  private readonly files = new Map<string, Member>();
  /** Targets of links: relative to the root of the archive. */
  private readonly links = new Map<string, string>();

  /** So far. */
  private entries = 0;

  private constructor(
    private readonly directory: string,
    private readonly limits: MemberLimits,
  ) {}

  /** Bytes that a file of an image may have when it is unpacked. */
  get largest(): number {
    return this.limits.largest;
  }

  /**
   * Unpacks an uncompressed tar.
   * @param directory is made, and must not exist
   * @param limits asked before anything is written
   * @throws invalid for a bad tar, insufficientResources, cancelled
   */
  static async read(
    tar: Readable,
    directory: string,
    limits: MemberLimits,
    signal?: AbortSignal,
  ): Promise<ArchiveMembers> {
    const members = new ArchiveMembers(directory, limits);
    await mkdir(directory, { mode: 0o700 });
    try {
      const reader = new TarReader(tar);
      for (let entry = await reader.next(); entry !== null; entry = await reader.next()) {
        signal?.throwIfAborted();
        await members.add(entry, reader);
      }
      return members;
    } catch (error) {
      await members.close();
      throw withoutRoom(error);
    }
  }

  private async add(entry: TarEntry, reader: TarReader): Promise<void> {
    const name = inside(entry.name);
    if (name === null) throw invalid(`invalid entry name ${JSON.stringify(toText(entry.name))}`);
    // Also those that leave nothing: there may be any number of them in a small compressed archive.
    if (++this.entries > MAX_ENTRIES) throw invalid(`the archive has more than ${MAX_ENTRIES} entries`);
    this.files.delete(name);
    this.links.delete(name);
    if (entry.type === 'symlink' || entry.type === 'link') {
      const from = entry.type === 'link' || entry.linkName.startsWith('/') ? '' : parentOf(name);
      const target = inside(`${from}/${entry.linkName}`);
      // A link that leads out leads nowhere; Docker fails when it opens the file.
      if (target !== null) this.links.set(name, target);
    } else if (entry.type === 'file') this.files.set(name, await this.unpack(entry, reader));
  }

  private async unpack(entry: TarEntry, reader: TarReader): Promise<Member> {
    if (entry.parts !== null) throw invalid('the archive has a sparse file, which no image archive needs');
    const { grow, largest } = this.limits;
    if (entry.size > largest)
      throw insufficientResources(
        `${toText(entry.name)} in the archive has ${entry.size} bytes, more than all images may have (${largest})`,
      );
    const path = join(this.directory, String(this.entries));
    const file = createWriteStream(path, { mode: 0o600, flags: 'w', highWaterMark: 1 << 20 });
    const written = finished(file);
    written.catch(() => undefined);
    try {
      for (let data = await reader.data(); data !== null; data = await reader.data()) {
        await grow(data.length);
        // A view of the reader's buffer, which it does not use again.
        if (!file.write(data)) await Promise.race([once(file, 'drain'), written]);
      }
    } finally {
      file.end();
      await written;
    }
    return { path, size: entry.size };
  }

  /** Of all files. */
  names(): string[] {
    return [...this.files.keys()];
  }

  /** The file of that name; links are followed. Null if there is none. @throws invalid for a name that leads out of the archive */
  find(name: string): Member | null {
    let path = inside(toBytes(name));
    if (path === null) throw invalid(`${JSON.stringify(name)} is not in the archive`);
    for (let followed = 0; followed <= MAX_LINKS; followed++) {
      const file = this.files.get(path);
      if (file !== undefined) return file;
      const next: string | null = this.follow(path);
      if (next === null) return null;
      path = next;
    }
    return null;
  }

  /** The path with its first link resolved; null if it has none. */
  private follow(path: string): string | null {
    const parts = path.split('/');
    for (let length = 1; length <= parts.length; length++) {
      const target = this.links.get(parts.slice(0, length).join('/'));
      if (target !== undefined) return inside([target, ...parts.slice(length)].join('/'));
    }
    return null;
  }

  /** The content of a small file. @throws notFound in Docker's words; invalid if it is longer than `limit` bytes */
  async text(name: string, limit: number): Promise<Buffer> {
    const member = this.find(name);
    if (member === null) throw notFound(`open ${name}: no such file or directory`);
    if (member.size > limit) throw invalid(`${name} in the archive is longer than ${limit} bytes`);
    const file = await open(member.path, 'r');
    try {
      return await file.readFile();
    } finally {
      await file.close();
    }
  }

  /** Removes the unpacked files. */
  async close(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** A name without needless parts; null if it leads out of the archive. */
function inside(name: string): string | null {
  const path: string[] = [];
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') path.push(part);
    else if (path.pop() === undefined) return null;
  }
  return path.join('/');
}

const parentOf = (name: string): string => name.slice(0, Math.max(0, name.lastIndexOf('/')));
const toText = (bytes: string): string => Buffer.from(bytes, 'latin1').toString();
const toBytes = (text: string): string => Buffer.from(text).toString('latin1');
