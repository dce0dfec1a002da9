/**
 * Awaiting tasks through the property collector: all tasks of a client share one collector and one outstanding
 * WaitForUpdatesEx, so that a further task costs one filter and no further long poll.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { cancelled, isKind, messageOf } from '../common/errors.js';
import { logger } from '../common/log.js';
import type { VimClient } from './client.js';
import { VimFault } from './faults.js';
import type { Fault } from './soap-message.js';
import type { ManagedObjectReference, TaskInfo, UpdateSet } from './types.generated.js';

const log = logger('vim25');

interface Waiting {
  filter: ManagedObjectReference | undefined;
  onProgress: ((percent: number) => void) | undefined;
  resolve(info: TaskInfo): void;
  reject(error: Error): void;
}

/** Waits for many tasks at once. */
export class TaskWaiter {
  private readonly waiting = new Map<string, Waiting>();
  private collector: Promise<ManagedObjectReference> | null = null;
  private polling = false;
  private readonly stop = new AbortController();

  constructor(private readonly client: VimClient) {}

  async wait(
    task: ManagedObjectReference,
    options: { signal?: AbortSignal; onProgress?: (percent: number) => void },
  ): Promise<TaskInfo> {
    const { signal } = options;
    signal?.throwIfAborted();
    const result = new Promise<TaskInfo>((resolve, reject) => {
      this.waiting.set(task.value, { filter: undefined, onProgress: options.onProgress, resolve, reject });
    });
    result.catch(() => undefined);
    const abort = (): void =>
      this.settle(task.value, (one) => one.reject(cancelled('waiting for a task was cancelled')));
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await this.watch(task);
    } catch (error) {
      this.settle(task.value, (one) => one.reject(error as Error));
    }
    return result.finally(() => signal?.removeEventListener('abort', abort));
  }

  close(): void {
    this.stop.abort();
    for (const id of [...this.waiting.keys()])
      this.settle(id, (one) => one.reject(cancelled('the vSphere client was closed')));
  }

  private async watch(task: ManagedObjectReference): Promise<void> {
    this.collector ??= this.client.call('CreatePropertyCollector', this.client.serviceContent.propertyCollector, {});
    const collector = await this.collector;
    const filter = await this.client.call('CreateFilter', collector, {
      spec: { propSet: [{ type: 'Task', pathSet: ['info'], all: false }], objectSet: [{ obj: task, skip: false }] },
      partialUpdates: false,
    });
    const entry = this.waiting.get(task.value);
    if (entry === undefined) this.dropFilter(filter);
    else entry.filter = filter;
    void this.poll(collector);
  }

  /** The one long poll; ends when nothing is waited for. */
  private async poll(collector: ManagedObjectReference): Promise<void> {
    if (this.polling) return;
    this.polling = true;
    let version = '';
    try {
      while (this.waiting.size > 0 && !this.stop.signal.aborted) {
        const set: UpdateSet | undefined = await this.client.call(
          'WaitForUpdatesEx',
          collector,
          { version, options: { maxWaitSeconds: 30 } },
          { signal: this.stop.signal, idleTimeoutMs: 60_000 },
        );
        if (set === undefined) continue;
        version = set.version;
        this.deliver(set);
      }
    } catch (error) {
      if (!this.stop.signal.aborted) await this.recover(error);
    } finally {
      this.polling = false;
      if (this.waiting.size > 0 && !this.stop.signal.aborted)
        void this.poll(await (this.collector ?? Promise.resolve(collector)));
    }
  }

  /** The collector died with its session: the tasks are watched anew. */
  private async recover(error: unknown): Promise<void> {
    log.warn({ err: messageOf(error) }, 'waiting for tasks was interrupted');
    this.collector = null;
    await sleep(200, undefined, { signal: this.stop.signal }).catch(() => undefined);
    for (const id of [...this.waiting.keys()]) {
      try {
        await this.watch({ type: 'Task', value: id });
      } catch (failure) {
        if (isKind(failure, 'unavailable') && this.waiting.size > 0) continue;
        this.settle(id, (one) => one.reject(failure as Error));
      }
    }
  }

  private deliver(set: UpdateSet): void {
    for (const update of (set.filterSet ?? []).flatMap((filter) => filter.objectSet ?? [])) {
      const info = (update.changeSet ?? []).find((change) => change.name === 'info')?.val as TaskInfo | undefined;
      if (info === undefined) continue;
      if (info.state === 'success') {
        this.settle(update.obj.value, (one) => one.resolve(info));
      } else if (info.state === 'error') {
        const fault = (info.error?.fault ?? null) as Fault | null;
        const failure = new VimFault(info.descriptionId ?? 'task', fault, info.error?.localizedMessage ?? '');
        this.settle(update.obj.value, (one) => one.reject(failure));
      } else if (info.progress !== undefined) {
        this.waiting.get(update.obj.value)?.onProgress?.(info.progress);
      }
    }
  }

  private settle(id: string, end: (waiting: Waiting) => void): void {
    const entry = this.waiting.get(id);
    if (entry === undefined) return;
    this.waiting.delete(id);
    if (entry.filter !== undefined) this.dropFilter(entry.filter);
    end(entry);
  }

  private dropFilter(filter: ManagedObjectReference): void {
    if (this.stop.signal.aborted) return;
    void this.client.call('DestroyPropertyFilter', filter, {}).catch(() => undefined);
  }
}
