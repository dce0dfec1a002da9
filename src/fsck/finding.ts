/** What a check of a store finds: plain data, for people and for machines. */

/**
 * `damage`: something that was there is gone or wrong. `leftover`: something that an interrupted operation left behind, which costs space
 * and nothing else.
 */
export type Severity = 'damage' | 'leftover';

/** How a finding can be mended without touching anybody's data. Paths are absolute. */
export type Repair =
  | { kind: 'remove'; path: string }
  /** An entry is taken out of a list or table in a JSON file: `list` names it (empty: the file itself), `entry` is its text, `id` or key. */
  | { kind: 'unlist'; path: string; list: string; entry: string }
  /** Damaged data is put elsewhere, and only if that was asked for. */
  | { kind: 'aside'; path: string };

export interface Finding {
  /** What kind of damage it is: one of the words of `docs/fsck.md`, which do not change. */
  code: string;
  severity: Severity;
  /** The file or record: a path below the state directory, or the name of what it belongs to. */
  where: string;
  /** What was found, what that means, and what to do about it. Sentences without the full stop. */
  what: string;
  means: string;
  todo: string;
  repair?: Repair;
}

/** Something that could not be judged. */
export interface Unchecked {
  where: string;
  why: string;
}

/** How many of each were looked at. */
export interface Counts {
  hosts: number;
  images: number;
  layers: number;
  volumes: number;
  machines: number;
  /** Bytes of content that were read and compared. */
  bytes: number;
}

/** What a check found. */
export interface StoreReport {
  findings: Finding[];
  unchecked: Unchecked[];
  counts: Counts;
  /** Whether the embedded host ran meanwhile. */
  running: boolean;
}

export interface CheckOptions {
  /** Content is not read: no filesystem is walked, and no layer compared with its digest. */
  quick?: boolean;
  /** Whether `e2fsck` looks at filesystems too, where it is installed; true by default. */
  e2fsck?: boolean;
  /** The cache directory, which is looked at only if given: other hosts may have it too. */
  cacheDir?: string;
  /** Told what is being looked at. */
  progress?: (step: Step) => void;
  signal?: AbortSignal;
}

/** Progress: the `done`th of `all` things of a kind. */
export interface Step {
  what: string;
  done: number;
  all: number;
}
