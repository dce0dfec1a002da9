/** PropertyCollector: properties by selection, once or as a stream of changes. */
import { AsyncResource } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import type { ManagedObjectReference, PropertyFilterSpec, UpdateSet, WaitOptions } from '../../../vim25/server.js';
import { holdForCaller } from '../../access/caller.js';
import { Effort } from '../../access/effort.js';
import { fault } from '../../faults.js';
import type { CallContext } from '../../objects/call-context.js';
import { ManagedObject } from '../../objects/managed-object.js';
import type { Registry } from '../../objects/registry.js';
import { WireValues } from '../../objects/wire-values.js';
import { PropertyFilter } from './property-filter.js';
import { ResultPages } from './result-pages.js';
import { checkPaths, select } from './selection.js';

const DEFAULT_WAIT_S = 1800;
const MAX_FILTERS = 10_000;
const COLLECTOR_BYTES = 64 * 1024;

/** A property collector: the session's own, or one it made. */
export class PropertyCollector extends ManagedObject {
  private readonly filters = new Set<PropertyFilter>();
  private readonly pages = new ResultPages();
  private readonly kept = holdForCaller(COLLECTOR_BYTES);
  private version = 0;
  private waiting: { cancel(): void } | null = null;

  constructor(
    private readonly registry: Registry,
    id = `session[${randomUUID()}]${randomUUID()}`,
    private readonly ownId = true,
  ) {
    super('PropertyCollector', id);
  }

  override get types(): string[] {
    return ['PropertyCollector'];
  }

  property(name: string): unknown {
    return name === 'filter' ? [...this.filters].map((filter) => filter.ref) : undefined;
  }

  propertyNames(): string[] {
    return ['filter'];
  }

  CreatePropertyCollector(_args: unknown, context: CallContext): ManagedObjectReference {
    const collector = new PropertyCollector(this.registry);
    context.session.collectors.add(collector);
    return this.registry.add(collector).ref;
  }

  DestroyPropertyCollector(_args: unknown, context: CallContext): void {
    if (!this.ownId) throw fault('InvalidRequest', "The session's own property collector cannot be destroyed");
    context.session.collectors.delete(this);
    this.dispose();
  }

  /** Ends with its session. */
  dispose(): void {
    this.waiting?.cancel();
    for (const filter of this.filters) filter.dispose();
    this.filters.clear();
    this.pages.forgetAll();
    this.kept();
    if (this.ownId) this.registry.remove(this);
  }

  CreateFilter(args: { spec: PropertyFilterSpec }): ManagedObjectReference {
    if (this.filters.size >= MAX_FILTERS)
      throw fault('InvalidRequest', `A collector has at most ${MAX_FILTERS} filters`);
    select(this.registry, args.spec, true, new Effort());
    checkPaths(args.spec);
    const filter = new PropertyFilter(args.spec, this, this.registry);
    this.filters.add(this.registry.add(filter));
    return filter.ref;
  }

  drop(filter: PropertyFilter): void {
    this.filters.delete(filter);
    filter.dispose();
  }

  RetrieveProperties(args: { specSet?: PropertyFilterSpec[] }): object[] {
    return this.contents(args.specSet ?? []);
  }

  RetrievePropertiesEx(args: {
    specSet?: PropertyFilterSpec[];
    options?: { maxObjects?: number };
  }): object | undefined {
    const objects = this.contents(args.specSet ?? []);
    if (objects.length === 0) return undefined;
    const size = Math.max(1, args.options?.maxObjects ?? objects.length);
    return this.pages.first(objects, size);
  }

  ContinueRetrievePropertiesEx(args: { token: string }): object {
    return this.pages.next(args.token);
  }

  CancelRetrievePropertiesEx(args: { token: string }): void {
    this.pages.forget(args.token);
  }

  private contents(specs: PropertyFilterSpec[]): object[] {
    const effort = new Effort();
    const made = new Map<ManagedObject, WireValues>();
    for (const spec of specs) checkPaths(spec);
    return specs.flatMap((spec) =>
      [...select(this.registry, spec, true, effort).values()].map(({ object, paths }) => {
        const values = made.get(object) ?? new WireValues(object, () => effort.make());
        made.set(object, values);
        const propSet = paths.flatMap((name) => {
          const val = effort.answer(values.at(name));
          return val === undefined ? [] : [{ name, val }];
        });
        return { obj: object.ref, propSet };
      }),
    );
  }

  WaitForUpdates(args: { version?: string }, context: CallContext): Promise<UpdateSet | undefined> {
    return this.wait(args.version, DEFAULT_WAIT_S, context);
  }

  WaitForUpdatesEx(
    args: { version?: string; options?: WaitOptions },
    context: CallContext,
  ): Promise<UpdateSet | undefined> {
    return this.wait(args.version, args.options?.maxWaitSeconds ?? DEFAULT_WAIT_S, context);
  }

  CheckForUpdates(args: { version?: string }, context: CallContext): Promise<UpdateSet | undefined> {
    return this.wait(args.version, 0, context);
  }

  CancelWaitForUpdates(): void {
    this.waiting?.cancel();
  }

  /** Long poll. A second wait on the same collector ends the first, as in vSphere. */
  private wait(version: string | undefined, seconds: number, context: CallContext): Promise<UpdateSet | undefined> {
    this.waiting?.cancel();
    if (version === undefined || version === '' || version !== String(this.version)) {
      if (version !== undefined && version !== '' && !/^\d+$/.test(version))
        throw fault('InvalidCollectorVersion', `unknown version '${version}'`);
      // The client starts over, or has lost an answer: it is told everything again.
      for (const filter of this.filters) filter.forget();
    }
    const first = this.collect();
    if (first !== undefined) return Promise.resolve(first);
    return new Promise((resolve, reject) => {
      const finish = (act: () => void): void => {
        this.registry.off('changed', look);
        context.signal.removeEventListener('abort', gone);
        clearTimeout(timer);
        if (this.waiting === handle) this.waiting = null;
        act();
      };
      // Whoever makes a change emits it, but what is seen of it depends on who waits: look as the waiting caller.
      const look = AsyncResource.bind((): void => {
        try {
          const set = this.collect();
          if (set !== undefined) finish(() => resolve(set));
        } catch (error) {
          // The error is for whoever waits, not for whoever changed something.
          finish(() => reject(error as Error));
        }
      });
      const gone = (): void => finish(() => resolve(undefined));
      const handle = { cancel: () => finish(() => reject(fault('RequestCanceled', 'The wait was cancelled'))) };
      const timer = setTimeout(gone, Math.min(seconds, 3600) * 1000);
      this.registry.on('changed', look);
      context.signal.addEventListener('abort', gone);
      this.waiting = handle;
    });
  }

  private collect(): UpdateSet | undefined {
    const effort = new Effort();
    const filterSet: NonNullable<UpdateSet['filterSet']> = [];
    try {
      for (const filter of this.filters) {
        const objectSet = filter.update(effort);
        if (objectSet.length > 0) filterSet.push({ filter: filter.ref, objectSet });
      }
    } catch (error) {
      // What was found so far is not told now and must be told the next time.
      for (const filter of this.filters) filter.forget();
      throw error;
    }
    if (filterSet.length === 0) return undefined;
    this.version++;
    return { version: String(this.version), filterSet };
  }
}
