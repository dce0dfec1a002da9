/**
 * Awaits tasks through the property collector: all tasks of a client share one collector and one outstanding WaitForUpdatesEx, so that
 * another task costs one filter and no other long poll.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CaissonError, cancelled, isKind, messageOf, notFound } from '../common/errors.js';
import { logger } from '../common/log.js';
import { VimFault } from './faults.js';
import type { Fault } from './soap-message.js';
import type { VimCalls } from './typed-calls.js';
import type { ManagedObjectReference, TaskInfo, UpdateSet } from './types.generated.js';

const log = logger('vim25');

/** One long poll; the server answers earlier when something happens. */
const POLL_SECONDS = 30;
/** When the server has been unreachable for this long, all waits fail. */
const GRACE_MS = 60_000;
/**
 * A server reports on a filter at once, even if it is created during a wait; but vcsim does not if the task has ended by then. After this
 * time without news of a task, the wait is cancelled and started again from the full state.
 */
const NUDGE_MS = 1000;

interface Waiter {
  onProgress: ((percent: number) => void) | undefined;
  resolve(info: TaskInfo): void;
  reject(error: Error): void;
}

/** A task and everybody who waits for it. */
interface Watched {
  readonly task: ManagedObjectReference;
  readonly waiters: Set<Waiter>;
  /** The collector that has a filter for the task, or soon will: when `ready` is there. */
  collector: ManagedObjectReference | undefined;
  ready: Promise<void>;
  filter: ManagedObjectReference | undefined;
  nudge: NodeJS.Timeout | undefined;
}

/** Waits for many tasks at once. */
export class TaskWaiter {
  private readonly watched = new Map<string, Watched>();
  private collector: ManagedObjectReference | undefined;
  private polling = false;
  private readonly stop = new AbortController();

  constructor(private readonly client: VimCalls) {}

  /** Resolves with the task's info when it has succeeded. @throws VimFault of the task; notFound; unavailable; cancelled */
  wait(
    task: ManagedObjectReference,
    options: { signal?: AbortSignal; onProgress?: (percent: number) => void },
  ): Promise<TaskInfo> {
    const { signal, onProgress } = options;
    if (signal?.aborted === true || this.stop.signal.aborted) {
      return Promise.reject(cancelled('waiting for a task was cancelled'));
    }
    const entry = this.watched.get(task.value) ?? this.add(task);
    return new Promise((resolve, reject) => {
      const settled = (): void => {
        signal?.removeEventListener('abort', abort);
        entry.waiters.delete(waiter);
        if (entry.waiters.size === 0 && this.watched.get(task.value) === entry) this.drop(entry);
      };
      const waiter: Waiter = {
        onProgress,
        resolve: (info) => {
          settled();
          resolve(info);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      };
      const abort = (): void => waiter.reject(cancelled('waiting for a task was cancelled'));
      signal?.addEventListener('abort', abort, { once: true });
      entry.waiters.add(waiter);
      void this.poll();
    });
  }

  /** Ends all waits. */
  close(): void {
    this.stop.abort();
    this.failAll(cancelled('the vSphere client was closed'));
  }

  private add(task: ManagedObjectReference): Watched {
    const entry: Watched = {
      task,
      waiters: new Set(),
      collector: undefined,
      ready: Promise.resolve(),
      filter: undefined,
      nudge: undefined,
    };
    this.watched.set(task.value, entry);
    // The long poll may be under way; the filter is added meanwhile.
    if (this.collector !== undefined) this.addFilter(entry, this.collector);
    return entry;
  }

  private drop(entry: Watched): void {
    this.watched.delete(entry.task.value);
    clearTimeout(entry.nudge);
    if (entry.filter !== undefined) this.dropFilter(entry.filter);
  }

  private dropFilter(filter: ManagedObjectReference): void {
    if (!this.stop.signal.aborted) this.client.call('DestroyPropertyFilter', filter, {}).catch(() => undefined);
  }

  private failAll(error: Error): void {
    for (const entry of [...this.watched.values()]) for (const waiter of [...entry.waiters]) waiter.reject(error);
  }

  /** The one long poll; it ends when nobody waits for anything. */
  private async poll(): Promise<void> {
    if (this.polling) return;
    this.polling = true;
    let version = '';
    let failingSince: number | undefined;
    while (this.watched.size > 0 && !this.stop.signal.aborted) {
      try {
        const collector = await this.open();
        const set: UpdateSet | undefined = await this.client.call(
          'WaitForUpdatesEx',
          collector,
          { version, options: { maxWaitSeconds: POLL_SECONDS } },
          { signal: this.stop.signal, idleTimeoutMs: (POLL_SECONDS + 30) * 1000 },
        );
        failingSince = undefined;
        // After a wait without news, start from the full state, which contains only running tasks.
        version = set?.version ?? '';
        if (set !== undefined) this.deliver(set);
      } catch (error) {
        version = '';
        if (this.stop.signal.aborted) break;
        if (error instanceof VimFault && error.is('RequestCanceled')) continue;
        failingSince ??= Date.now();
        await this.recover(error, Date.now() - failingSince);
      }
    }
    this.polling = false;
  }

  /** Makes the collector, with a filter for every task. */
  private async open(): Promise<ManagedObjectReference> {
    this.collector ??= await this.client.call(
      'CreatePropertyCollector',
      this.client.serviceContent.propertyCollector,
      {},
      { signal: this.stop.signal },
    );
    const { collector } = this;
    for (const entry of this.watched.values()) if (entry.collector !== collector) this.addFilter(entry, collector);
    await Promise.all([...this.watched.values()].map((entry) => entry.ready));
    return collector;
  }

  private addFilter(entry: Watched, collector: ManagedObjectReference): void {
    entry.collector = collector;
    entry.ready = this.createFilter(entry, collector);
    entry.ready.catch((error: unknown) => {
      log.debug({ err: messageOf(error) }, 'a task is not watched yet');
      if (entry.collector === collector) entry.collector = undefined;
    });
  }

  private async createFilter(entry: Watched, collector: ManagedObjectReference): Promise<void> {
    const filter = await this.client.call('CreateFilter', collector, {
      spec: {
        propSet: [{ type: 'Task', pathSet: ['info'], all: false }],
        objectSet: [{ obj: entry.task, skip: false }],
      },
      partialUpdates: false,
    });
    if (this.watched.get(entry.task.value) !== entry) return this.dropFilter(filter);
    entry.filter = filter;
    entry.nudge = setTimeout(() => {
      if (this.collector === collector) {
        this.client.call('CancelWaitForUpdates', collector, {}).catch(() => undefined);
      }
    }, NUDGE_MS);
    entry.nudge.unref();
  }

  /** Called when the collector died (with its session, say) or the server cannot be reached: looks at the tasks and starts over. */
  private async recover(error: unknown, failingMs: number): Promise<void> {
    log.warn({ err: messageOf(error) }, 'waiting for tasks was interrupted');
    const old = this.collector;
    this.collector = undefined;
    if (failingMs > GRACE_MS) {
      this.failAll(error instanceof Error ? error : new CaissonError('internal', String(error)));
      return;
    }
    await sleep(Math.min(200 + failingMs / 4, 5000), undefined, { signal: this.stop.signal }).catch(() => undefined);
    const entries = [...this.watched.values()];
    for (const entry of entries) {
      entry.collector = undefined;
      entry.filter = undefined;
    }
    try {
      if (old !== undefined) {
        await this.client.call('DestroyPropertyCollector', old, {}).catch((failure: unknown) => {
          if (isKind(failure, 'unavailable')) throw failure;
        });
      }
      const tasks = await this.client.retrieve(
        entries.map((entry) => entry.task),
        'Task',
        ['info'],
      );
      const infos = new Map(tasks.map((task) => [task.ref.value, task.props.info]));
      for (const entry of entries) {
        const info = infos.get(entry.task.value);
        if (info !== undefined) this.report(entry, info);
        else for (const waiter of [...entry.waiters]) waiter.reject(notFound(`there is no task ${entry.task.value}`));
      }
    } catch (failure) {
      log.debug({ err: messageOf(failure) }, 'looking at the tasks failed');
    }
  }

  private deliver(set: UpdateSet): void {
    for (const update of (set.filterSet ?? []).flatMap((filter) => filter.objectSet ?? [])) {
      const entry = this.watched.get(update.obj.value);
      if (entry === undefined) continue;
      const info = (update.changeSet ?? []).find((change) => change.name === 'info')?.val as TaskInfo | undefined;
      if (update.kind === 'leave') {
        for (const waiter of [...entry.waiters]) waiter.reject(notFound(`there is no task ${entry.task.value}`));
      } else if (info !== undefined) {
        clearTimeout(entry.nudge);
        this.report(entry, info);
      }
    }
  }

  private report(entry: Watched, info: TaskInfo): void {
    for (const waiter of [...entry.waiters]) {
      if (info.state === 'success') {
        waiter.resolve(info);
      } else if (info.state === 'error') {
        const fault = (info.error?.fault ?? null) as Fault | null;
        waiter.reject(new VimFault(info.descriptionId, fault, info.error?.localizedMessage ?? ''));
      } else if (info.progress !== undefined) {
        waiter.onProgress?.(info.progress);
      }
    }
  }
}
