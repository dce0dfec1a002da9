/** TaskManager: starts tasks and keeps them for a while. */
import { logger } from '../../../common/log.js';
import { within } from '../../../common/within.js';
import type { ManagedObjectReference, TaskInfo } from '../../../vim25/server.js';
import { callerSees, holdForCaller, restrictedCaller } from '../../access/caller.js';
import { NOTHING_HELD, sizeOf } from '../../access/holdings.js';
import { fault, toFault } from '../../faults.js';
import { ManagedObject } from '../../objects/managed-object.js';
import type { Registry } from '../../objects/registry.js';
import { TASK_MANAGER } from '../../references.js';
import { Task } from './task.js';
import { TASK_DESCRIPTION } from './task-description.js';

const log = logger('task');
const KEPT_MS = 600_000;
const KEPT = 500;
/** Running tasks of one user who is no administrator. */
const MAX_RUNNING = 400;
/** Characters of what a task tells of a failure: it may repeat what the client has sent. */
const MAX_TEXT = 4096;
/** Whoever asks for a task looks at it next: one that has ended by then need not be waited for. */
const SOON_MS = 50;

/** Makes tasks, runs them, and forgets them ten minutes after their end. */
export class TaskManager extends ManagedObject {
  private next = 1;
  private readonly recent: Task[] = [];

  constructor(private readonly registry: Registry) {
    super('TaskManager', TASK_MANAGER.value);
  }

  override get types(): string[] {
    return ['TaskManager'];
  }

  property(name: string): unknown {
    if (name === 'recentTask')
      return this.recent
        .filter(callerSees)
        .slice(-200)
        .map((task) => task.ref);
    if (name === 'description') return TASK_DESCRIPTION;
    return name === 'maxCollector' ? 32 : undefined;
  }

  propertyNames(): string[] {
    return ['recentTask', 'description', 'maxCollector'];
  }

  /** Starts `body` as a task and answers its reference at once. */
  run(
    operation: string,
    entity: ManagedObject,
    entityName: string,
    user: string,
    body: (progress: (percent: number) => void) => Promise<unknown>,
  ): ManagedObjectReference {
    const running = this.recent.filter((one) => one.user === user && one.info.state === 'running').length;
    if (running >= MAX_RUNNING && restrictedCaller() !== undefined)
      throw fault('LimitExceeded', `A user has at most ${MAX_RUNNING} tasks at once`, {
        property: 'task',
        limit: MAX_RUNNING,
      });
    const task = this.registry.add(new Task(this.next++, operation, entity, entityName, user));
    this.recent.push(task);
    if (this.recent.length > KEPT) this.dropOne();
    this.registry.touch(this, 'recentTask');
    entity.recentTasks.push(task.ref);
    this.registry.touch(entity, 'recentTask');
    const change = (info: Partial<TaskInfo>): void => {
      task.info = { ...task.info, ...info };
      this.registry.touch(task, 'info');
    };
    const finished = body((progress) => change({ progress })).then((result) => {
      // It is kept with the task.
      task.kept = result === undefined || result === null ? NOTHING_HELD : holdForCaller(sizeOf(result));
      change({ state: 'success', result: result ?? undefined, completeTime: new Date() });
    });
    task.done = finished.catch((error: unknown) => {
      const { fault: detail, message } = toFault(error);
      log.info({ operation, entity: entityName, fault: detail.$type, err: message }, 'task failed');
      change({
        state: 'error',
        completeTime: new Date(),
        error: { fault: short(detail) as never, localizedMessage: message.slice(0, MAX_TEXT) },
      });
    });
    setTimeout(() => {
      const index = this.recent.indexOf(task);
      if (index >= 0) this.recent.splice(index, 1);
      this.forget(task);
      this.registry.touch(this, 'recentTask');
    }, KEPT_MS).unref();
    return task.ref;
  }

  /** Drops the oldest finished task of the user who has most, so that nobody loses a task because somebody else starts many. */
  private dropOne(): void {
    const ended = this.recent.filter(({ info }) => info.state !== 'running');
    const counts = new Map<string, number>();
    for (const { user } of ended) counts.set(user, (counts.get(user) ?? 0) + 1);
    const [most] = [...counts].sort((a, b) => b[1] - a[1])[0] ?? [];
    const oldest = ended.find(({ user }) => user === most);
    if (oldest === undefined) return;
    this.recent.splice(this.recent.indexOf(oldest), 1);
    this.forget(oldest);
  }

  private forget(task: Task): void {
    this.registry.remove(task);
    task.kept();
    task.kept = NOTHING_HELD;
    const { recentTasks } = task.entity;
    const index = recentTasks.findIndex(({ value }) => value === task.ref.value);
    if (index < 0) return;
    recentTasks.splice(index, 1);
    this.registry.touch(task.entity, 'recentTask');
  }

  /** Resolves when the task is done, or after a short time. */
  async soon({ value }: ManagedObjectReference): Promise<void> {
    const task = this.recent.findLast(({ ref }) => ref.value === value);
    if (task === undefined) return;
    await within(task.done, SOON_MS, () => undefined);
  }
}

/** A fault without long texts. */
function short<T>(value: T): T {
  if (typeof value === 'string') return value.slice(0, MAX_TEXT) as T;
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (Array.isArray(value)) return value.slice(0, MAX_TEXT).map(short) as T;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, short(inner)])) as T;
}
