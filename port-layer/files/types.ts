/** Files of containers. */
import type { Readable } from 'node:stream';

/** What `lstat` says about a path in a container. */
export interface PathStat {
  /** The last component of the path that was asked for. */
  name: string;
  size: number;
  /** As in `st_mode`. */
  mode: number;
  /** Seconds since 1970 and nanoseconds. */
  mtime: { sec: number; nsec: number };
  /** The final target of a symbolic link, inside the container's root; '' for anything else. */
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
  /** What is at a path as a tar, without following a final symbolic link. Its names begin with the path's last component. */
  archive(id: string, path: string, signal?: AbortSignal): Promise<{ stat: PathStat; tar: Readable }>;
  /**
   * Unpacks a tar into the directory at `path`. `keepKind`: neither replace a directory with something else, nor something else with a
   * directory. `asUser`: everything belongs to the container's user.
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
  /** What changed since the image, in path order. A directory counts as modified if only its content changed. */
  changes(id: string, signal?: AbortSignal): Promise<FileChange[]>;
  /** Bytes of the files that are new or changed since the image: what the container takes up in addition to it. */
  size(id: string, signal?: AbortSignal): Promise<number>;
  /**
   * What changed since the image as the tar of a layer; without changes, only the end of an archive. `freeze`: processes that change files
   * have to wait while it is read.
   */
  layer(id: string, options: { freeze: boolean }, signal?: AbortSignal): Promise<Readable>;
  /**
   * Gives a container that was never started the changes that {@link layer} told of another one of the same image. All or nothing.
   * @throws notFound, conflict (it was started before), invalid (the tar), insufficientResources
   */
  restoreLayer(id: string, tar: Readable, signal?: AbortSignal): Promise<void>;
}
