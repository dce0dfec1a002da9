/** Notices when a socket that a VM connects to is made again, and when its listener asks for a connection by touching it. */
import { type FSWatcher, statSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';

/** Anything the watch missed is found within this time. */
const SLOW_MS = 30_000;

interface Directory {
  watcher: FSWatcher | null;
  inode: number;
  /** What to call, by the socket's name. */
  sockets: Map<string, () => void>;
}

/** One watch per directory, however many VMs have their sockets there. Its owner must {@link close} it. */
export class ChannelWatch {
  private readonly directories = new Map<string, Directory>();
  private timer: NodeJS.Timeout | null = null;

  /** @param look is called whenever the socket may be there again, and now and then @returns a function that ends this */
  add(path: string, look: () => void): () => void {
    const name = dirname(path);
    let directory = this.directories.get(name);
    if (directory === undefined) {
      directory = { watcher: null, inode: -1, sockets: new Map() };
      this.directories.set(name, directory);
    }
    const { sockets } = directory;
    sockets.set(basename(path), look);
    this.follow(name, directory);
    this.timer ??= setInterval(() => this.lookAtAll(), SLOW_MS).unref();
    return () => {
      if (sockets.get(basename(path)) === look) sockets.delete(basename(path));
      if (sockets.size > 0 || this.directories.get(name)?.sockets !== sockets) return;
      this.directories.get(name)?.watcher?.close();
      this.directories.delete(name);
    };
  }

  close(): void {
    if (this.timer !== null) clearInterval(this.timer);
    for (const { watcher } of this.directories.values()) watcher?.close();
    this.directories.clear();
  }

  private lookAtAll(): void {
    for (const [name, directory] of this.directories) {
      this.follow(name, directory);
      for (const look of directory.sockets.values()) look();
    }
  }

  /** Watches the directory that has that name now. */
  private follow(name: string, directory: Directory): void {
    const inode = inodeOf(name);
    if (inode === directory.inode && directory.watcher !== null) return;
    directory.watcher?.close();
    directory.watcher = null;
    directory.inode = inode;
    if (inode < 0) return;
    try {
      const watcher = watch(name, { persistent: false }, (_event, file) => {
        if (file === null) for (const look of directory.sockets.values()) look();
        else directory.sockets.get(file)?.();
      });
      watcher.on('error', () => {
        watcher.close();
        if (directory.watcher === watcher) directory.watcher = null;
      });
      directory.watcher = watcher;
    } catch {
      // The directory is gone, or the kernel has no watches left: the sockets are still checked now and then.
    }
  }
}

function inodeOf(path: string): number {
  try {
    return statSync(path).ino;
  } catch {
    return -1;
  }
}
