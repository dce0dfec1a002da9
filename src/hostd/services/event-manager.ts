/** Events: what happened, kept in a bounded history. */
import { AsyncResource } from 'node:async_hooks';
import { EventEmitter } from 'node:events';
import { isSubtype } from '../../vim25/table.js';
import type { EventFilterSpec, ManagedObjectReference } from '../../vim25/types.generated.js';
import { holdForCaller, restrictedCaller } from '../access/caller.js';
import { sizeOf } from '../access/holdings.js';
import { fault } from '../faults.js';
import type { CallContext } from './session-manager.js';
import { EVENT_DESCRIPTION } from './descriptions.js';
import { ManagedObject } from '../objects/managed-object.js';
import type { Registry } from '../objects/registry.js';

const KEPT = 2000;
const PAGE = 100;
const MAX_COLLECTORS = 1000;
/** Each looks at every event. */
const COLLECTOR_BYTES = 16 * 1024;
/** Values in a filter, which are all looked at for each event. */
const MAX_FILTER_VALUES = 1000;

/** An event as it goes on the wire. */
export interface HostEvent {
  $type: string;
  key: number;
  chainId: number;
  createdTime: Date;
  userName: string;
  fullFormattedMessage: string;
  vm?: { name: string; vm: ManagedObjectReference };
  [element: string]: unknown;
}

/** Posts and answers events. */
export class EventManager extends ManagedObject {
  readonly posted = new EventEmitter<{ event: [HostEvent] }>();
  private readonly events: HostEvent[] = [];
  private next = 1;
  /** How many events of each source are kept. */
  private readonly counts = new Map<unknown, number>();
  /** The pool of the machine that an event is about, or the pool that it is about: a machine may be gone when it is looked at. */
  private readonly pools = new WeakMap<HostEvent, ManagedObject>();

  constructor(private readonly registry: Registry) {
    super('EventManager', 'ha-eventmgr');
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

  /** Whose an event is: a pool's, or of the user who did something. */
  private sourceOf(event: HostEvent): unknown {
    return this.pools.get(event) ?? event.userName;
  }

  /** The oldest event of those who have most: who makes many pushes out no events of others. */
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

  /** True for an event that the caller may know of: about the caller or what the caller sees, and nothing else. */
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

/** @throws InvalidArgument */
function checkFilter({ eventTypeId, type, userName }: EventFilterSpec): void {
  for (const values of [eventTypeId, type, userName?.userList])
    if (values !== undefined && values.length > MAX_FILTER_VALUES)
      throw fault('InvalidArgument', `A filter has at most ${MAX_FILTER_VALUES} values of each kind`, {
        invalidProperty: 'filter',
      });
}

/** True when an event passes a filter. Entities above a VM take in all VMs. */
export function matches(filter: EventFilterSpec, event: HostEvent): boolean {
  const { entity, time, userName, eventTypeId, eventChainId } = filter;
  if (entity !== undefined && entity.entity.type === 'VirtualMachine' && event.vm?.vm.value !== entity.entity.value)
    return false;
  if (time?.beginTime !== undefined && event.createdTime < time.beginTime) return false;
  if (time?.endTime !== undefined && event.createdTime > time.endTime) return false;
  if (userName?.userList !== undefined && userName.userList.length > 0 && !userName.userList.includes(event.userName))
    return false;
  if (eventChainId !== undefined && eventChainId !== 0 && event.chainId !== eventChainId) return false;
  const types = [...(eventTypeId ?? []), ...(filter.type ?? [])].map((id) => id.split('.').at(-1)!);
  return types.length === 0 || types.some((type) => isSubtype(event.$type, type));
}

/** A cursor over matching events, at first before the oldest of them, with a page of the latest. Ends with its session. */
export class EventHistoryCollector extends ManagedObject {
  private pageSize = PAGE;
  private position = 0;
  private readonly onEvent: (event: HostEvent) => void;
  private readonly kept;

  constructor(
    private readonly manager: EventManager,
    private readonly filter: EventFilterSpec,
    private readonly registry: Registry,
  ) {
    super(
      'EventHistoryCollector',
      `event-collector-${manager.ref.value}-${Date.now()}-${Math.floor(Math.random() * 1e9)}`,
    );
    this.kept = holdForCaller(COLLECTOR_BYTES + sizeOf(filter));
    this.onEvent = AsyncResource.bind((event: HostEvent) => {
      if (matches(filter, event) && manager.seen(event)) registry.touch(this, 'latestPage');
    });
    manager.posted.on('event', this.onEvent);
  }

  override get types(): string[] {
    return ['EventHistoryCollector', 'HistoryCollector'];
  }

  property(name: string): unknown {
    // Newest first, as in vSphere.
    if (name === 'latestPage') return this.manager.matching(this.filter).slice(-this.pageSize).reverse();
    return name === 'filter' ? { ...this.filter, $type: 'EventFilterSpec' } : undefined;
  }

  propertyNames(): string[] {
    return ['filter', 'latestPage'];
  }

  SetCollectorPageSize(args: { maxCount: number }): void {
    this.pageSize = Math.min(Math.max(1, args.maxCount), 1000);
  }

  ReadNextEvents(args: { maxCount: number }): HostEvent[] {
    const events = this.manager
      .matching(this.filter)
      .filter((event) => event.key > this.position)
      .slice(0, args.maxCount);
    this.position = events.at(-1)?.key ?? this.position;
    return events;
  }

  ReadPreviousEvents(args: { maxCount: number }): HostEvent[] {
    const events = this.manager
      .matching(this.filter)
      .filter((event) => event.key <= this.position)
      .slice(-args.maxCount);
    if (events.length > 0) this.position = events[0]!.key - 1;
    return events.reverse();
  }

  ResetCollector(): void {
    this.position = this.manager.matching(this.filter).at(-1)?.key ?? 0;
  }

  RewindCollector(): void {
    this.position = 0;
  }

  DestroyCollector(_args: unknown, context: CallContext): void {
    context.session.readers.delete(this);
    this.dispose();
  }

  dispose(): void {
    this.manager.posted.off('event', this.onEvent);
    this.registry.remove(this);
    this.kept();
  }
}
