/**
 * Calls and properties of a vSphere server, typed by operation and by managed object: what parts of the client need from the rest of it.
 */
import type { ManagedObjectReference, ManagedObjects, Operations, ServiceContent } from './types.generated.js';

/** An object with some of its properties; each nested path (`config.extraConfig`) is a key of its own. */
export interface RetrievedObject<T extends keyof ManagedObjects> {
  ref: ManagedObjectReference;
  props: Props<T>;
}

/** Property values by path: first-level ones typed, nested ones by walking the path. */
export type Props<T extends keyof ManagedObjects> = { [P in PropertyPath<T>]?: PathValue<ManagedObjects[T], P> };

type Defined<V> = Exclude<V, undefined>;
type Key<T> = Extract<keyof T, string>;
/** `a`, `a.b` or `a.b.c`. */
export type PropertyPath<T extends keyof ManagedObjects> =
  | Key<ManagedObjects[T]>
  | {
      [A in Key<ManagedObjects[T]>]: Defined<ManagedObjects[T][A]> extends unknown[] | string | number | boolean | Date
        ? never
        : `${A}.${Key<Defined<ManagedObjects[T][A]>>}`;
    }[Key<ManagedObjects[T]>];
type PathValue<O, P extends string> = P extends `${infer A}.${infer B}`
  ? A extends keyof O
    ? PathValue<Defined<O[A]>, B>
    : unknown
  : P extends keyof O
    ? Defined<O[P]>
    : unknown;

/** Options of a call. */
export interface CallOptions {
  signal?: AbortSignal;
  /** The call fails if the server is silent for this long (default: two minutes). */
  idleTimeoutMs?: number;
}

/** Calls on a server with a session. */
export interface VimCalls {
  readonly serviceContent: ServiceContent;
  call<M extends keyof Operations>(
    operation: M,
    target: ManagedObjectReference,
    args: Operations[M]['args'],
    options?: CallOptions,
  ): Promise<Operations[M]['result']>;
  retrieve<T extends keyof ManagedObjects>(
    refs: ManagedObjectReference[],
    type: T,
    paths: PropertyPath<T>[],
  ): Promise<RetrievedObject<T>[]>;
}
