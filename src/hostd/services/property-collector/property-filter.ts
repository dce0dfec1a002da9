/** PropertyFilter: a selection, and what a client has been told of it. */
import { createHash, randomUUID } from 'node:crypto';
import type {
  ManagedObjectReference,
  ObjectUpdate,
  PropertyChange,
  PropertyFilterSpec,
} from '../../../vim25/server.js';
import { holdForCaller, restrictedCaller } from '../../access/caller.js';
import type { Effort } from '../../access/effort.js';
import { NOTHING_HELD, type Release, sizeOf } from '../../access/holdings.js';
import type { ManagedObject } from '../../objects/managed-object.js';
import type { Registry } from '../../objects/registry.js';
import { SimpleObject } from '../../objects/simple-object.js';
import { WireValues } from '../../objects/wire-values.js';
import { select } from './selection.js';

/** Filters are looked through at each change while somebody waits: one user cannot have thousands of them. */
const FILTER_BYTES = 16 * 1024;
/** What is kept of one property that was told, and of one object. */
const TOLD_BYTES = 256;

/** One filter with what the client has been told already. */
export class PropertyFilter extends SimpleObject {
  /** The version of each path that was told last, by object. */
  private readonly told = new Map<string, { ref: ManagedObjectReference; versions: Map<string, number> }>();
  /** Digests of the values told last, by object and path, for a client that does not see everything. */
  private readonly values = new Map<string, string>();
  /** Memory held for the filter, and for what the client was told. */
  private readonly kept: Release;
  private keptTold: Release = NOTHING_HELD;
  private toldCount = 0;

  constructor(
    readonly spec: PropertyFilterSpec,
    readonly owner: ManagedObject & { drop(filter: PropertyFilter): void },
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
        // The change may be in a part that this client does not see: it is not even told that there was one.
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
