/** Files of containers for tests of the routes: a few fixed ones; unpacked archives are recorded. */
import { Readable } from 'node:stream';
import { PortLayerError } from '../../port-layer/errors.js';
import type { FileChange, FileService, PathStat } from '../../port-layer/index.js';

/** The same files in every container. */
export class FakeFiles implements FileService {
  readonly entries = new Map<string, PathStat>([
    ['/etc', { name: 'etc', size: 4096, mode: 0o040755, mtime: { sec: 1_700_000_000, nsec: 0 }, linkTarget: '' }],
    ['/tmp', { name: 'tmp', size: 4096, mode: 0o041777, mtime: { sec: 0, nsec: 120_000_000 }, linkTarget: '' }],
    ['/su', { name: 'su', size: 9, mode: 0o104755, mtime: { sec: 1, nsec: 1 }, linkTarget: '' }],
    ['/link', { name: 'link', size: 4, mode: 0o120777, mtime: { sec: 1, nsec: 0 }, linkTarget: '/etc' }],
    ['/null', { name: 'null', size: 0, mode: 0o020666, mtime: { sec: 1, nsec: 0 }, linkTarget: '' }],
  ]);
  /** Unpacked archives, by path. */
  readonly extracted: { path: string; bytes: Buffer; options: { keepKind: boolean; asUser: boolean } }[] = [];
  changed: FileChange[] = [];
  /** For every container. */
  bytes = 0;
  /** The next archive fails after its first bytes. */
  breakOff = false;

  stat(id: string, path: string): Promise<PathStat> {
    const stat = this.entries.get(path);
    return stat === undefined
      ? Promise.reject(new PortLayerError('files.notFound', { container: id, path }))
      : Promise.resolve(stat);
  }

  async archive(id: string, path: string): Promise<{ stat: PathStat; tar: Readable }> {
    const stat = await this.stat(id, path);
    const { breakOff } = this;
    const parts = async function* (): AsyncGenerator<Buffer> {
      yield Buffer.alloc(1024, 1);
      if (breakOff) throw new Error('the guest is gone');
      yield Buffer.alloc(1024);
    };
    return { stat, tar: Readable.from(parts(), { objectMode: false }) };
  }

  async size(): Promise<number> {
    return this.bytes;
  }

  async extract(
    id: string,
    path: string,
    tar: Readable,
    options: { keepKind: boolean; asUser: boolean },
  ): Promise<void> {
    await this.stat(id, path);
    const parts: Buffer[] = [];
    for await (const part of tar) parts.push(part as Buffer);
    this.extracted.push({ path, bytes: Buffer.concat(parts), options });
  }

  async export(): Promise<Readable> {
    return Readable.from([Buffer.alloc(1024)], { objectMode: false });
  }

  async changes(): Promise<FileChange[]> {
    return this.changed;
  }

  async restoreLayer(_id: string, tar: Readable): Promise<void> {
    for await (const _part of tar);
  }

  async layer(): Promise<Readable> {
    return Readable.from([Buffer.alloc(1024)], { objectMode: false });
  }
}
