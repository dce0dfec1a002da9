/** Work that several pulls want at the same time, and that is done only once: downloading a blob, writing a layer. */
import { cancelled } from '../../src/common/errors.js';
import { unlessAborted } from '../../src/common/unless-aborted.js';

/** Does one piece of work; `signal` fires when nobody wants it any more. */
export type SharedWork<T, E> = (context: { signal: AbortSignal; emit(event: E): void }) => Promise<T>;

/** A share in a finished piece of work. Its owner must call `release()`. */
export interface Lease<T> {
  readonly value: T;
  /** True if another caller had started the work. */
  readonly joined: boolean;
  release(): Promise<void>;
}

interface Task<T, E> {
  readonly controller: AbortController;
  readonly result: Promise<T>;
  readonly listeners: Set<(event: E) => void>;
  holders: number;
  lastEvent?: E;
}

/**
 * Runs one task per key: the first caller starts it, and others join. It is aborted when the last caller has left; its value is disposed of
 * when the last lease is released.
 */
export class SharedTasks<T, E> {
  readonly #tasks = new Map<string, Task<T, E>>();

  /** @param dispose frees a value that nobody holds any more; must not throw */
  constructor(private readonly dispose: (value: T) => Promise<void> = async () => {}) {}

  /**
   * Joins or starts the task named `key`.
   * @param listener gets the task's events from now on, beginning with the latest one
   * @param signal removes this caller; the task continues for the others
   * @throws whatever the task throws; cancelled when `signal` fires. A caller that had joined a task of somebody else, which then failed,
   *   starts it again for itself: the other's registry or credentials may have been the reason.
   */
  async join(
    key: string,
    work: SharedWork<T, E>,
    listener: (event: E) => void,
    signal: AbortSignal,
  ): Promise<Lease<T>> {
    for (;;) {
      signal.throwIfAborted();
      const existing = this.#tasks.get(key);
      const task = existing ?? this.#start(key, work);
      task.holders++;
      task.listeners.add(listener);
      if (existing?.lastEvent !== undefined) listener(existing.lastEvent);
      const leave = once(() => this.#leave(key, task, listener));
      try {
        const value = await unlessAborted(task.result, signal);
        return { value, joined: existing !== undefined, release: leave };
      } catch (error) {
        await leave();
        if (existing === undefined || signal.aborted) throw error;
      }
    }
  }

  #start(key: string, work: SharedWork<T, E>): Task<T, E> {
    const controller = new AbortController();
    const listeners = new Set<(event: E) => void>();
    const emit = (event: E) => {
      task.lastEvent = event;
      for (const listener of listeners) listener(event);
    };
    const task: Task<T, E> = {
      controller,
      listeners,
      holders: 0,
      // In a later turn, so that the task is registered before the work's first event.
      result: Promise.resolve().then(() => work({ signal: controller.signal, emit })),
    };
    // A failed task is not joined again. Its holders get the rejection; this handler also keeps it from counting as unhandled.
    task.result.catch(() => this.#forget(key, task));
    this.#tasks.set(key, task);
    return task;
  }

  #forget(key: string, task: Task<T, E>): void {
    if (this.#tasks.get(key) === task) this.#tasks.delete(key);
  }

  async #leave(key: string, task: Task<T, E>, listener: (event: E) => void): Promise<void> {
    task.listeners.delete(listener);
    if (--task.holders > 0) return;
    this.#forget(key, task);
    task.controller.abort(cancelled('context canceled'));
    const value = await task.result.then(
      (result) => ({ result }),
      () => undefined,
    );
    if (value) await this.dispose(value.result);
  }
}

function once(body: () => Promise<void>): () => Promise<void> {
  let result: Promise<void> | undefined;
  return () => {
    result ??= body();
    return result;
  };
}
