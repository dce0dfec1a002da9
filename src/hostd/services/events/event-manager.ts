/** EventManager: what happened, kept in a bounded history. */
import { EventEmitter } from 'node:events';
import type { EventFilterSpec, ManagedObjectReference } from '../../../vim25/server.js';
import { restrictedCaller } from '../../access/caller.js';
import { fault } from '../../faults.js';
import type { CallContext } from '../../objects/call-context.js';
import { ManagedObject } from '../../objects/managed-object.js';
import type { Registry } from '../../objects/registry.js';
import { EVENT_MANAGER } from '../../references.js';
import { EVENT_DESCRIPTION } from './event-description.js';
import { checkFilter, type HostEvent, matches } from './event-filter.js';
import { EventHistoryCollector, type EventSource } from './event-history-collector.js';

const KEPT = 2000;
const MAX_COLLECTORS = 1000;

/** Posts and answers events. */
export class EventManager extends ManagedObject implements EventSource {
  readonly posted = new EventEmitter<{ event: [HostEvent] }>();
  private readonly events: HostEvent[] = [];
  private next = 1;
  /** Number of kept events by source. */
  private readonly counts = new Map<unknown, number>();
  /** The pool that an event is about, or the pool of its machine: the machine may be gone when somebody looks. */
  private readonly pools = new WeakMap<HostEvent, ManagedObject>();

  constructor(private readonly registry: Registry) {
    super('EventManager', EVENT_MANAGER.value);
    this.posted.setMaxListeners(0);
  }

  override get types(): string[] {
    return ['EventManager'];
  }

  property(name: string): unknown {
    if (name === 'description') return EVENT_DESCRIPTION;
    if (name === 'latestEvent') return this.events.findLast((event) => this.seen(event));
    return name === 'maxCollector' ? MAX_COLLECTORS : undefined;
  }

  propertyNames(): string[] {
    return ['description', 'latestEvent', 'maxCollector'];
  }

  post(type: string, message: string, user: string, elements: Record<string, unknown> = {}): void {
    const key = this.next++;
    const event: HostEvent = {
      $type: type,
      key,
      chainId: key,
      createdTime: new Date(),
      userName: user,
      fullFormattedMessage: message,
      ...elements,
    };
    const pool = this.poolOf(event);
    if (pool !== undefined) this.pools.set(event, pool);
    this.events.push(event);
    this.counts.set(this.sourceOf(event), (this.counts.get(this.sourceOf(event)) ?? 0) + 1);
    if (this.events.length > KEPT) this.dropOne();
    this.registry.touch(this, 'latestEvent');
    this.posted.emit('event', event);
  }

  /** Whose an event is: a pool's, or the user's who did something. */
  private sourceOf(event: HostEvent): unknown {
    return this.pools.get(event) ?? event.userName;
  }

  /** Drops the oldest event of the source that has most, so that nobody pushes out the events of others. */
  private dropOne(): void {
    let [most, count] = [undefined as unknown, 0];
    for (const [source, has] of this.counts) if (has > count) [most, count] = [source, has];
    const index = this.events.findIndex((event) => this.sourceOf(event) === most);
    this.events.splice(index, 1);
    if (count > 1) this.counts.set(most, count - 1);
    else this.counts.delete(most);
  }

  QueryEvents(args: { filter: EventFilterSpec }): HostEvent[] {
    checkFilter(args.filter);
    return this.matching(args.filter).slice(-(args.filter.maxCount ?? 1000));
  }

  CreateCollectorForEvents(args: { filter: EventFilterSpec }, context: CallContext): ManagedObjectReference {
    const { filter } = args;
    checkFilter(filter);
    const { readers } = context.session;
    if (readers.size >= MAX_COLLECTORS)
      throw fault('InvalidState', `A session has at most ${MAX_COLLECTORS} event collectors`);
    const collector = this.registry.add(new EventHistoryCollector(this, filter, this.registry));
    readers.add(collector);
    return collector.ref;
  }

  matching(filter: EventFilterSpec): HostEvent[] {
    return this.events.filter((event) => matches(filter, event) && this.seen(event));
  }

  /** True for an event about the caller or about what the caller sees, and about nothing else. */
  seen(event: HostEvent): boolean {
    const caller = restrictedCaller();
    if (caller === undefined) return true;
    const pool = this.pools.get(event);
    const concerned = pool === undefined ? event.userName === caller.principal : caller.sees(pool);
    return concerned && caller.redact(event) === event;
  }

  private poolOf({ vm, resourcePool }: HostEvent): ManagedObject | undefined {
    const machine = vm === undefined ? undefined : this.registry.find(vm.vm);
    const ref =
      machine?.property('resourcePool') ?? (resourcePool as { resourcePool?: unknown } | undefined)?.resourcePool;
    return ref === undefined ? undefined : this.registry.find(ref as ManagedObjectReference);
  }
}
