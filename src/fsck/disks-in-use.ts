/** Which files a running virtual machine may be writing to: the state of those on disk means nothing. */
import { readdirSync, readFileSync, statSync } from 'node:fs';

const O_ACCMODE = 3;

export class DisksInUse {
  private constructor(private readonly files: ReadonlySet<string>) {}

  static none(): DisksInUse {
    return new DisksInUse(new Set());
  }

  /** Looks at what this machine's QEMUs have open for writing. Without root, only those of the caller are seen. */
  static find(): DisksInUse {
    const files = new Set<string>();
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        if (!readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('qemu')) continue;
        for (const fd of readdirSync(`/proc/${pid}/fd`)) {
          const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0';
          if ((Number.parseInt(flags, 8) & O_ACCMODE) === 0) continue;
          const { dev, ino } = statSync(`/proc/${pid}/fd/${fd}`, { bigint: true });
          files.add(`${dev}:${ino}`);
        }
      } catch {
        // It has ended, or closed the file.
      }
    }
    return new DisksInUse(files);
  }

  has(path: string): boolean {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stat !== undefined && this.files.has(`${stat.dev}:${stat.ino}`);
  }
}
