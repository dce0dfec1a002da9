/**
 * Snapshots of booted VMs, from which others of the same shape go on instead of booting. A snapshot is a directory with the VM's
 * memory (`memory`, a sparse file that resumed VMs map copy-on-write), its devices' state (`state`), a small disk (`rehearsal`) and `info.json`.
 *
 * It fits one QEMU, accelerator, kernel, boot image, command line and shape only: all are in its key. Its digests are checked when it is first
 * used in a host's life; what does not fit or is damaged is removed. No QEMU that goes on from it can write to it (`preload/memory.c`). A snapshot that was removed stays usable for those that have it open.
 */
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { findProcess, signal } from '../process-id.js';
import { memoryDigest } from './memory-digest.js';

const log = logger('snapshots');
/** Disk space for all snapshots together: those used longest ago make room. */
const BUDGET_BYTES = 4 * 2 ** 30;
/** Bytes in a block of `stat.blocks`, whatever the filesystem; see stat(2). */
const STAT_BLOCK = 512;

/** A snapshot that may be resumed. Absolute paths. */
export interface BootSnapshot {
  readonly key: string;
  readonly directory: string;
  readonly memory: string;
  readonly state: string;
  /** Begin of a raw disk with a small filesystem, for VMs of the warm pool to rehearse on. */
  readonly rehearsal: string;
}

interface Info {
  /** What all snapshots of this host must have in common; see {@link BootSnapshots}. */
  host: string;
  stateSha256: string;
  /** See `memory-digest.ts`. */
  memorySha256: string;
}

/** The snapshots in one directory. Hosts that share the directory share the snapshots. */
export class BootSnapshots {
  /** Keys that were checked, or are being checked. */
  private readonly checked = new Map<string, Promise<boolean>>();

  /**
   * @param host says all that makes a snapshot unusable besides the VM's own shape
   * @param budgetBytes disk space for all of them
   */
  constructor(
    private readonly directory: string,
    private readonly host: string,
    private readonly budgetBytes = BUDGET_BYTES,
  ) {}

  /** Key of the snapshot for VMs with this command line (with everything replaced that VMs of one shape differ in). */
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
      // A host that was killed may have left the VM that it was booting. VMs that go on from a finished snapshot live on without its name.
      const left = builder === undefined ? null : findProcess(`${path}/`);
      if (left !== null) signal(left, 'SIGKILL');
      await rm(path, { recursive: true, force: true });
    }
  }

  /** The snapshot of a key, if there is a good one. */
  async find(key: string): Promise<BootSnapshot | null> {
    const snapshot = this.at(key);
    let checked = this.checked.get(key);
    if (checked === undefined) {
      checked = this.check(snapshot);
      this.checked.set(key, checked);
    }
    if (!(await checked)) {
      this.checked.delete(key);
      return null;
    }
    const now = new Date();
    try {
      // Also tells whether it is still there.
      await utimes(join(snapshot.directory, 'info.json'), now, now);
      return snapshot;
    } catch {
      this.checked.delete(key);
      return null;
    }
  }

  /** Removes a snapshot that turned out to be bad. */
  async discard(snapshot: BootSnapshot): Promise<void> {
    this.checked.delete(snapshot.key);
    await rm(snapshot.directory, { recursive: true, force: true });
  }

  /**
   * Adds a snapshot.
   * @param make puts `memory`, `state` and `rehearsal` into the directory it is given
   */
  async add(key: string, make: (directory: string) => Promise<void>): Promise<void> {
    const building = join(this.directory, `${key}.${process.pid}.building`);
    await rm(building, { recursive: true, force: true });
    await mkdir(building, { mode: 0o700 });
    try {
      await make(building);
      const { memory, state } = files(key, building);
      // What a VM was resumed from must not be lost half in a crash of the machine.
      await Promise.all([sync(memory), sync(state)]);
      const [stateSha256, memorySha256] = await Promise.all([sha256(state), memoryDigest(memory)]);
      const info: Info = { host: this.host, stateSha256, memorySha256 };
      await writeFile(join(building, 'info.json'), JSON.stringify(info));
      await rename(building, join(this.directory, key)).catch((error: NodeJS.ErrnoException) => {
        // Another host was faster.
        if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
      });
    } finally {
      await rm(building, { recursive: true, force: true });
    }
    this.checked.set(key, Promise.resolve(true));
    await this.makeRoom(key);
  }

  private at(key: string): BootSnapshot {
    return files(key, join(this.directory, key));
  }

  private async check(snapshot: BootSnapshot): Promise<boolean> {
    const info = await readInfo(snapshot.directory);
    if (info === null) return false;
    try {
      if (
        info.host === this.host &&
        (await sha256(snapshot.state)) === info.stateSha256 &&
        (await memoryDigest(snapshot.memory)) === info.memorySha256
      )
        return true;
      log.warn({ snapshot: snapshot.key }, 'a boot snapshot is damaged and is removed');
    } catch (error) {
      log.warn({ snapshot: snapshot.key, err: messageOf(error) }, 'a boot snapshot cannot be read and is removed');
    }
    await this.discard(snapshot);
    return false;
  }

  /** Removes those used longest ago until all fit the budget; `keep` stays in any case. */
  private async makeRoom(keep: string): Promise<void> {
    const kept = [];
    for (const name of await readdir(this.directory)) {
      if (!/^[0-9a-f]{32}$/.test(name)) continue;
      const snapshot = this.at(name);
      const [memory, info] = await Promise.all(
        [snapshot.memory, join(snapshot.directory, 'info.json')].map((path) => stat(path).catch(() => null)),
      );
      kept.push({ snapshot, bytes: (memory?.blocks ?? 0) * STAT_BLOCK, usedMs: info?.mtimeMs ?? 0 });
    }
    kept.sort((a, b) => a.usedMs - b.usedMs);
    let total = kept.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { snapshot, bytes } of kept) {
      if (total <= this.budgetBytes) break;
      if (snapshot.key === keep) continue;
      log.info({ snapshot: snapshot.key, bytes }, 'a boot snapshot makes room for another');
      await this.discard(snapshot);
      total -= bytes;
    }
  }
}

function files(key: string, directory: string): BootSnapshot {
  return {
    key,
    directory,
    memory: join(directory, 'memory'),
    state: join(directory, 'state'),
    rehearsal: join(directory, 'rehearsal'),
  };
}

async function readInfo(directory: string): Promise<Info | null> {
  try {
    return JSON.parse(await readFile(join(directory, 'info.json'), 'utf8')) as Info;
  } catch {
    return null;
  }
}

async function sha256(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

async function sync(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
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
