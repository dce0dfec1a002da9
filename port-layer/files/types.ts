/** Files of containers. */
import type { Readable } from 'node:stream';

/** What is at a path of a container, as `lstat` says it. */
export interface PathStat {
  /** The last component of the path that was asked for. */
  name: string;
  size: number;
  /** As in `st_mode`. */
  mode: number;
  /** Seconds since 1970 and nanoseconds. */
  mtime: { sec: number; nsec: number };
  /** Where a symbolic link leads in the end, inside the container's root; else ''. */
  linkTarget: string;
}

/** A difference between a container's root and its image. */
export interface FileChange {
  kind: 'modified' | 'added' | 'deleted';
  /** Absolute. */
  path: string;
}

/** Files of containers, running or not. Paths are text; nothing leads out of the container's root. */
export interface FileService {
  /** @throws notFound (nothing there), unavailable with the system's words */
  stat(id: string, path: string, signal?: AbortSignal): Promise<PathStat>;
  /** What is at a path, a symbolic link itself, as a tar; its names begin with the path's last component. */
  archive(id: string, path: string, signal?: AbortSignal): Promise<{ stat: PathStat; tar: Readable }>;
  /**
   * Unpacks a tar into the directory at `path`. `keepKind`: no directory is replaced by something else, nor the other way round;
   * `asUser`: everything belongs to the container's user.
   * @throws notFound, invalid (no directory, a read-only root, an unknown user), unavailable
   */
  extract(
    id: string,
    path: string,
    tar: Readable,
    options: { keepKind: boolean; asUser: boolean },
    signal?: AbortSignal,
  ): Promise<void>;
  /** The container's whole root as a tar, without what is mounted in it. */
  export(id: string, signal?: AbortSignal): Promise<Readable>;
  /** What was changed since the image, in the order of the paths: a directory of which only the content changed is modified. */
  changes(id: string, signal?: AbortSignal): Promise<FileChange[]>;
  /** Bytes of the files that are new or changed since the image: what the container takes besides it. */
  size(id: string, signal?: AbortSignal): Promise<number>;
  /**
   * What was changed since the image as the tar of a layer; only the archive's end when nothing was. `freeze`: processes that change
   * files wait while it is read.
   */
  layer(id: string, options: { freeze: boolean }, signal?: AbortSignal): Promise<Readable>;
}
