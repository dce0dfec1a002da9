/** An in-memory filesystem of a few megabytes that a test can fill. */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface SmallFilesystem {
  path: string;
  /** Uses up space. Returns a function that frees it. */
  take(megabytes: number): () => void;
  remove(): void;
}

/** Mounts one. Needs root. */
export function smallFilesystem(megabytes: number): SmallFilesystem {
  const path = mkdtempSync(join(tmpdir(), 'caisson-small-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'caisson-test', path]);
  const unmount = (): void => {
    execFileSync('umount', ['--lazy', path]);
    rmSync(path, { recursive: true, force: true });
  };
  // Also if the test is aborted.
  process.once('exit', unmount);
  return {
    path,
    take(size) {
      const file = join(path, `taken-${size}-${Math.random()}`);
      const handle = openSync(file, 'w');
      const block = Buffer.alloc(1 << 20);
      for (let i = 0; i < size; i++) writeSync(handle, block);
      closeSync(handle);
      return () => rmSync(file);
    },
    remove() {
      process.off('exit', unmount);
      unmount();
    },
  };
}
