/**
 * Snapshots of booted VMs, from which other VMs of the same shape resume instead of booting. A snapshot is a directory with the VM's memory
 * (`memory`, a sparse file that resumed VMs map copy-on-write), its devices' state (`state`), a small disk (`rehearsal`) and `info.json`.
 *
 * It fits only one QEMU, accelerator, kernel, boot image, command line and shape, all of which are in its key. Each host checks its digests
 * once, through the descriptors that it then uses (`snapshot-files.ts`). A snapshot that does not fit or is damaged is removed. No QEMU
 * that resumes from it can write to it (`preload/memory.c`). Whoever has a removed snapshot open can still use it.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { internal, messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { findProcess, signal } from '../../common/process-id.js';
import { SNAPSHOT_FILES, SnapshotFiles } from './snapshot-files.js';

const log = logger('snapshots');
/** Disk space for all snapshots together; the least recently used ones make room. */
const BUDGET_BYTES = 4 * 2 ** 30;
/** Describes a snapshot. */
const INFO = 'info.json';
/** Bytes in a block of `stat.blocks`, whatever the filesystem; see stat(2). */
const STAT_BLOCK = 512;

/** A snapshot that VMs may resume from. */
export interface BootSnapshot {
  readonly key: string;
  readonly files: Pick<SnapshotFiles, 'again'>;
}

const stored = z.object({
  /** What all snapshots of this host must have in common; see {@link BootSnapshots}. */
  host: z.string(),
  /** See `memory-digest.ts`. */
  digests: z.object({ memory: z.string(), state: z.string(), rehearsal: z.string() }),
});
type Info = z.infer<typeof stored>;

/** The snapshots in one directory. Hosts that share the directory share the snapshots. */
export class BootSnapshots {
  /** By key, the files of snapshots that were or are being checked; null: there is no good snapshot. */
  private readonly checked = new Map<string, Promise<SnapshotFiles | null>>();

  /**
   * @param host whatever makes a snapshot unusable, apart from the VM's shape
   * @param budgetBytes disk space for all of them
   */
  constructor(
    private readonly directory: string,
    private readonly host: string,
    private readonly budgetBytes = BUDGET_BYTES,
  ) {}

  /** Key of the snapshot for VMs with this command line, in which everything that differs between VMs of one shape was replaced. */
  keyOf(commandLine: readonly string[]): string {
    return createHash('sha256')
      .update(JSON.stringify([this.host, commandLine]))
      .digest('hex')
      .slice(0, 32);
  }

  /** Makes the directory and removes what other versions left. */
  async open(): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.directory)) {
      const builder = /\.(\d+)\.building$/.exec(name)?.[1];
      const path = join(this.directory, name);
      const stale = builder !== undefined ? !processRuns(Number(builder)) : (await readInfo(path))?.host !== this.host;
      if (!stale) continue;
      // A killed host may have left the VM that it was booting, which is ended. VMs that resumed from a finished snapshot do not need its
      // files' names.
      const left = builder === undefined ? null : findProcess(`${path}/`);
      if (left !== null) signal(left, 'SIGKILL');
      await rm(path, { recursive: true, force: true });
    }
  }

  /** The snapshot of a key, if there is a good one. */
  async find(key: string): Promise<BootSnapshot | null> {
    let checked = this.checked.get(key);
    if (checked === undefined) {
      checked = this.check(key);
      this.checked.set(key, checked);
    }
    const files = await checked;
    const now = new Date();
    try {
      if (files === null) throw internal('there is none');
      // Also finds out whether it is still there.
      await utimes(join(this.directory, key, INFO), now, now);
      return { key, files };
    } catch {
      if (this.checked.get(key) === checked) await this.letGo(key);
      return null;
    }
  }

  /** Removes a snapshot that turned out to be bad. */
  async discard({ key, files }: BootSnapshot): Promise<void> {
    const current = (await this.checked.get(key)) ?? files;
    // Another one has taken its place.
    if (current !== files) return;
    await this.remove(key);
  }

  private async remove(key: string): Promise<void> {
    await this.letGo(key);
    await rm(join(this.directory, key), { recursive: true, force: true });
  }

  /** Lets go of all files. */
  async close(): Promise<void> {
    for (const key of [...this.checked.keys()]) await this.letGo(key);
  }

  private async letGo(key: string): Promise<void> {
    const checked = this.checked.get(key);
    this.checked.delete(key);
    await (await checked)?.close();
  }

  /**
   * Adds a snapshot.
   * @param make puts `memory`, `state` and `rehearsal` into the directory it is given
   */
  async add(key: string, make: (directory: string) => Promise<void>): Promise<void> {
    const building = join(this.directory, `${key}.${process.pid}.building`);
    await rm(building, { recursive: true, force: true });
    await mkdir(building, { mode: 0o700 });
    let files: SnapshotFiles | null = null;
    try {
      await make(building);
      files = await SnapshotFiles.open(building);
      // A crash of the machine must not leave half a snapshot.
      await files.sync();
      const info: Info = { host: this.host, digests: await files.digests() };
      await writeFile(join(building, INFO), JSON.stringify(info));
      await this.letGo(key);
      try {
        await rename(building, join(this.directory, key));
        this.checked.set(key, Promise.resolve(files));
        files = null;
      } catch (error) {
        // Another host was faster.
        const { code } = error as NodeJS.ErrnoException;
        if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
      }
    } finally {
      await files?.close();
      await rm(building, { recursive: true, force: true });
    }
    await this.makeRoom(key);
  }

  private async check(key: string): Promise<SnapshotFiles | null> {
    const directory = join(this.directory, key);
    const info = await readInfo(directory);
    if (info === null) return null;
    let files: SnapshotFiles | null = null;
    try {
      files = await SnapshotFiles.open(directory);
      const found = await files.digests();
      const bad = SNAPSHOT_FILES.filter((name) => found[name] !== info.digests[name]);
      if (info.host === this.host && bad.length === 0) return files;
      log.warn({ snapshot: key, bad }, 'a boot snapshot is damaged and is removed');
    } catch (error) {
      log.warn({ snapshot: key, err: messageOf(error) }, 'a boot snapshot cannot be read and is removed');
    }
    await files?.close();
    await rm(directory, { recursive: true, force: true });
    return null;
  }

  /** Removes the least recently used snapshots until the rest fit the budget. `keep` always stays. */
  private async makeRoom(keep: string): Promise<void> {
    const kept = [];
    for (const name of await readdir(this.directory)) {
      if (!/^[0-9a-f]{32}$/.test(name)) continue;
      const [memory, info] = await Promise.all(
        ['memory', INFO].map((file) => stat(join(this.directory, name, file)).catch(() => null)),
      );
      kept.push({ key: name, bytes: (memory?.blocks ?? 0) * STAT_BLOCK, usedMs: info?.mtimeMs ?? 0 });
    }
    kept.sort((a, b) => a.usedMs - b.usedMs);
    let total = kept.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { key, bytes } of kept) {
      if (total <= this.budgetBytes) break;
      if (key === keep) continue;
      log.info({ snapshot: key, bytes }, 'a boot snapshot makes room for another');
      await this.remove(key);
      total -= bytes;
    }
  }
}

async function readInfo(directory: string): Promise<Info | null> {
  try {
    return stored.parse(JSON.parse(await readFile(join(directory, INFO), 'utf8')));
  } catch {
    return null;
  }
}

function processRuns(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
