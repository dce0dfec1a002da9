/** PropertyCollector: properties by selection, once or as a stream of changes. */
import { AsyncResource } from 'node:async_hooks';
import { createHash, randomUUID } from 'node:crypto';
import { propertyNames } from '../../../vim25/table.js';
import type {
  ManagedObjectReference,
  ObjectUpdate,
  PropertyChange,
  PropertyFilterSpec,
  SelectionSpec,
  TraversalSpec,
  UpdateSet,
  WaitOptions,
} from '../../../vim25/types.generated.js';
import { isReference } from '../../access/authority.js';
import { callerSees, holdForCaller, restrictedCaller } from '../../access/caller.js';
import { Effort } from '../../access/effort.js';
import { NOTHING_HELD, type Release, sizeOf } from '../../access/holdings.js';
import { fault } from '../../faults.js';
import type { CallContext } from '../session-manager.js';
import { ManagedObject } from '../../objects/managed-object.js';
import type { Registry } from '../../objects/registry.js';
import { SimpleObject } from '../../objects/simple-object.js';
import { checkPath, WireValues } from '../../objects/wire-values.js';

const DEFAULT_WAIT_S = 1800;
const MAX_FILTERS = 10_000;
/** Looked through at each change while somebody waits: a thousandfold of these is not for one user. */
const FILTER_BYTES = 16 * 1024;
const COLLECTOR_BYTES = 64 * 1024;
/** What is kept of one property that was told, and of one object. */
const TOLD_BYTES = 256;
/** Answers that a client has begun to read. */
const MAX_PAGES = 100;

interface Selected {
  object: ManagedObject;
  paths: string[];
}

/** Evaluates one filter's selection. */
function select(
  registry: Registry,
  spec: PropertyFilterSpec,
  mustExist: boolean,
  effort: Effort,
): Map<string, Selected> {
  const found = new Map<string, Selected>();
  for (const start of spec.objectSet ?? []) {
    effort.step();
    const object = mustExist ? registry.get(start.obj) : registry.find(start.obj);
    if (object === undefined || !callerSees(object)) continue;
    const named = new Map<string, TraversalSpec>();
    collectNamed(start.selectSet ?? [], named);
    const seen = new Set<string>();
    if (start.skip !== true) take(spec, object, found, effort);
    walk(registry, spec, object, start.selectSet ?? [], named, found, seen, effort);
  }
  return found;
}

function collectNamed(specs: SelectionSpec[], named: Map<string, TraversalSpec>): void {
  for (const one of specs) {
    if (one.$type !== 'TraversalSpec') continue;
    const traversal = one as TraversalSpec;
    if (traversal.name !== undefined && traversal.name !== '') named.set(traversal.name, traversal);
    collectNamed((traversal.selectSet ?? []) as SelectionSpec[], named);
  }
}

function walk(
  registry: Registry,
  spec: PropertyFilterSpec,
  object: ManagedObject,
  selectSet: SelectionSpec[],
  named: Map<string, TraversalSpec>,
  found: Map<string, Selected>,
  seen: Set<string>,
  effort: Effort,
): void {
  for (const one of selectSet) {
    effort.step();
    const traversal = one.$type === 'TraversalSpec' ? (one as TraversalSpec) : named.get(one.name ?? '');
    if (traversal === undefined || !object.types.includes(traversal.type)) continue;
    const key = `${object.ref.value} ${traversal.name ?? ''} ${traversal.type} ${traversal.path}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const value = object.value(traversal.path);
    for (const ref of Array.isArray(value) ? value : [value]) {
      effort.step();
      const target = isReference(ref) ? registry.find(ref) : undefined;
      if (target === undefined || !callerSees(target)) continue;
      if (traversal.skip !== true) take(spec, target, found, effort);
      walk(registry, spec, target, (traversal.selectSet ?? []) as SelectionSpec[], named, found, seen, effort);
    }
  }
}

function take(spec: PropertyFilterSpec, object: ManagedObject, found: Map<string, Selected>, effort: Effort): void {
  const paths = new Set<string>();
  let matches = false;
  for (const set of spec.propSet ?? []) {
    effort.step();
    if (!object.types.includes(set.type)) continue;
    matches = true;
    const all = set.all === true ? object.allPropertyNames() : [];
    effort.step(all.length + (set.pathSet?.length ?? 0));
    for (const name of all) paths.add(name);
    for (const path of set.pathSet ?? []) paths.add(path);
  }
  if (matches) found.set(object.ref.value, { object, paths: [...paths] });
}

/** One filter with what it has told already. */
export class PropertyFilter extends SimpleObject {
  /** By object: the version told last of each path. */
  private readonly told = new Map<string, { ref: ManagedObjectReference; versions: Map<string, number> }>();
  /** Digests of the values told last, by object and path, for a client that does not see everything. */
  private readonly values = new Map<string, string>();
  /** What is kept of the filter, and of what it has told. */
  private readonly kept: Release;
  private keptTold: Release = NOTHING_HELD;
  private toldCount = 0;

  constructor(
    readonly spec: PropertyFilterSpec,
    readonly owner: PropertyCollector,
    private readonly registry: Registry,
  ) {
    super('PropertyFilter', `filter-${randomUUID()}`, { spec, partialUpdates: false }, []);
    this.kept = holdForCaller(FILTER_BYTES + sizeOf(spec));
  }

  /** It is of no use any more. */
  dispose(): void {
    this.registry.remove(this);
    this.forget();
    this.kept();
  }

  private keepTold(count: number): void {
    if (count <= this.toldCount) return;
    this.keptTold();
    this.toldCount = 0;
    this.keptTold = holdForCaller(count * TOLD_BYTES);
    this.toldCount = count;
  }

  /** What changed since the last call. @throws LimitExceeded */
  update(effort: Effort): ObjectUpdate[] {
    const selected = select(this.registry, this.spec, false, effort);
    this.keepTold([...selected.values()].reduce((sum, { paths }) => sum + 1 + paths.length, 0));
    const updates: ObjectUpdate[] = [];
    for (const [id, { object, paths }] of selected) {
      const before = this.told.get(id);
      const versions = before?.versions ?? new Map<string, number>();
      const changeSet: PropertyChange[] = [];
      const values = new WireValues(object, () => effort.make());
      for (const path of paths) {
        const version = object.versionOf(path);
        if (versions.get(path) === version) continue;
        const value = effort.answer(values.at(path));
        const toldBefore = versions.has(path);
        versions.set(path, version);
        // What changed may be a part that this client does not see: it is not told that there was anything.
        if (restrictedCaller() !== undefined && this.isOldNews(`${id} ${path}`, value)) continue;
        if (value !== undefined) changeSet.push({ name: path, op: 'assign', val: value });
        else if (toldBefore) changeSet.push({ name: path, op: 'remove', val: undefined });
      }
      this.told.set(id, { ref: object.ref, versions });
      if (before === undefined) updates.push({ kind: 'enter', obj: object.ref, changeSet });
      else if (changeSet.length > 0) updates.push({ kind: 'modify', obj: object.ref, changeSet });
    }
    for (const [id, { ref }] of this.told) {
      if (selected.has(id)) continue;
      this.told.delete(id);
      for (const key of this.values.keys()) if (key.startsWith(`${id} `)) this.values.delete(key);
      updates.push({ kind: 'leave', obj: ref });
    }
    return updates;
  }

  private isOldNews(key: string, value: unknown): boolean {
    const digest = createHash('sha256')
      .update(JSON.stringify(value) ?? '')
      .digest('base64');
    const old = this.values.get(key) === digest;
    this.values.set(key, digest);
    return old;
  }

  /** Tells everything again. */
  forget(): void {
    this.told.clear();
    this.values.clear();
    this.keptTold();
    this.keptTold = NOTHING_HELD;
    this.toldCount = 0;
  }

  DestroyPropertyFilter(): void {
    this.owner.drop(this);
  }
}

/** An answer of which a client has read a part. */
interface Rest {
  objects: object[];
  from: number;
  size: number;
  kept: Release;
}

/** A property collector: the session's own, or one it made. */
export class PropertyCollector extends ManagedObject {
  private readonly filters = new Set<PropertyFilter>();
  private readonly pages = new Map<string, Rest>();
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
    for (const token of [...this.pages.keys()]) this.forgetRest(token);
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
    if (size >= objects.length) return { objects };
    return this.page({ objects, size, from: 0, kept: holdForCaller(sizeOf(objects)) });
  }

  ContinueRetrievePropertiesEx(args: { token: string }): object {
    const rest = this.pages.get(args.token);
    if (rest === undefined) throw fault('InvalidProperty', 'unknown token', { name: 'token' });
    this.pages.delete(args.token);
    return this.page(rest);
  }

  CancelRetrievePropertiesEx(args: { token: string }): void {
    this.forgetRest(args.token);
  }

  private forgetRest(token: string): void {
    this.pages.get(token)?.kept();
    this.pages.delete(token);
  }

  private page(rest: Rest): object {
    const { objects, size } = rest;
    const page = objects.slice(rest.from, rest.from + size);
    rest.from += size;
    if (rest.from >= objects.length) {
      rest.kept();
      return { objects: page };
    }
    for (const oldest of this.pages.keys()) if (this.pages.size >= MAX_PAGES) this.forgetRest(oldest);
    const token = randomUUID();
    this.pages.set(token, rest);
    return { token, objects: page };
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
      // The client starts anew, or lost an answer: it is told everything again.
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
      // A change is told of by whoever makes it: what is seen of it depends on who waits.
      const look = AsyncResource.bind((): void => {
        try {
          const set = this.collect();
          if (set !== undefined) finish(() => resolve(set));
        } catch (error) {
          // It is told to who waits, not to who changed something.
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
      // What was found so far is not told now, and must be the next time.
      for (const filter of this.filters) filter.forget();
      throw error;
    }
    if (filterSet.length === 0) return undefined;
    this.version++;
    return { version: String(this.version), filterSet };
  }
}

/** @throws InvalidProperty for a path that no object of its type can have */
function checkPaths(spec: PropertyFilterSpec): void {
  for (const set of spec.propSet ?? []) for (const path of set.pathSet ?? []) checkPath(set.type, path);
}

/**
 * What one who is not logged in is told: the objects asked for by name, with all that was asked of them missing. vSphere answers so
 * rather than with a fault, and govc looks at the current session like this to see whether it must log in.
 */
export function notAuthenticated(specs: PropertyFilterSpec[]): object[] {
  return specs.flatMap((spec) =>
    (spec.objectSet ?? []).map(({ obj }) => ({
      obj,
      missingSet: missingPaths(spec, obj).map((path) => ({
        path,
        fault: {
          fault: { $type: 'NotAuthenticated', object: obj, privilegeId: 'System.View' },
          localizedMessage: 'The session is not authenticated.',
        },
      })),
    })),
  );
}

function missingPaths(spec: PropertyFilterSpec, { type }: ManagedObjectReference): string[] {
  const sets = (spec.propSet ?? []).filter((set) => set.type === type || set.type === 'ManagedEntity');
  const paths = sets.flatMap((set) => (set.all === true ? propertyNames(type) : (set.pathSet ?? [])));
  return [...new Set(paths)];
}
