/** EventHistoryCollector: a client's cursor over events. */
import { AsyncResource } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import type { EventEmitter } from 'node:events';
import type { EventFilterSpec } from '../../../vim25/server.js';
import { holdForCaller } from '../../access/caller.js';
import { sizeOf } from '../../access/holdings.js';
import type { CallContext } from '../../objects/call-context.js';
import { ManagedObject } from '../../objects/managed-object.js';
import type { Registry } from '../../objects/registry.js';
import { type HostEvent, matches } from './event-filter.js';

const PAGE = 100;
/** Each collector looks at every event. */
const COLLECTOR_BYTES = 16 * 1024;

/** The events that there are. */
export interface EventSource {
  readonly posted: EventEmitter<{ event: [HostEvent] }>;
  /** Those that pass a filter and that the caller may know of. */
  matching(filter: EventFilterSpec): HostEvent[];
  /** True for an event that the caller may know of. */
  seen(event: HostEvent): boolean;
}

/** Starts before the oldest matching event; `latestPage` has the latest ones. Ends with its session. */
export class EventHistoryCollector extends ManagedObject {
  private pageSize = PAGE;
  private position = 0;
  private readonly onEvent: (event: HostEvent) => void;
  private readonly kept;

  constructor(
    private readonly source: EventSource,
    private readonly filter: EventFilterSpec,
    private readonly registry: Registry,
  ) {
    super('EventHistoryCollector', `event-collector-${randomUUID()}`);
    this.kept = holdForCaller(COLLECTOR_BYTES + sizeOf(filter));
    this.onEvent = AsyncResource.bind((event: HostEvent) => {
      if (matches(filter, event) && source.seen(event)) registry.touch(this, 'latestPage');
    });
    source.posted.on('event', this.onEvent);
  }

  override get types(): string[] {
    return ['EventHistoryCollector', 'HistoryCollector'];
  }

  property(name: string): unknown {
    // Newest first, as in vSphere.
    if (name === 'latestPage') return this.source.matching(this.filter).slice(-this.pageSize).reverse();
    return name === 'filter' ? { ...this.filter, $type: 'EventFilterSpec' } : undefined;
  }

  propertyNames(): string[] {
    return ['filter', 'latestPage'];
  }

  SetCollectorPageSize(args: { maxCount: number }): void {
    this.pageSize = Math.min(Math.max(1, args.maxCount), 1000);
  }

  ReadNextEvents(args: { maxCount: number }): HostEvent[] {
    const events = this.source
      .matching(this.filter)
      .filter((event) => event.key > this.position)
      .slice(0, args.maxCount);
    this.position = events.at(-1)?.key ?? this.position;
    return events;
  }

  ReadPreviousEvents(args: { maxCount: number }): HostEvent[] {
    const events = this.source
      .matching(this.filter)
      .filter((event) => event.key <= this.position)
      .slice(-args.maxCount);
    if (events.length > 0) this.position = events[0]!.key - 1;
    return events.reverse();
  }

  ResetCollector(): void {
    this.position = this.source.matching(this.filter).at(-1)?.key ?? 0;
  }

  RewindCollector(): void {
    this.position = 0;
  }

  DestroyCollector(_args: unknown, context: CallContext): void {
    context.session.readers.delete(this);
    this.dispose();
  }

  dispose(): void {
    this.source.posted.off('event', this.onEvent);
    this.registry.remove(this);
    this.kept();
  }
}
