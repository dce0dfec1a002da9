/** ListView: a list of objects that the client keeps. */
import type { ManagedObjectReference } from '../../../vim25/server.js';
import { fault } from '../../faults.js';
import type { Registry } from '../../objects/registry.js';
import { View } from './view.js';

export class ListView extends View {
  constructor(
    registry: Registry,
    private members: ManagedObjectReference[],
  ) {
    super(registry, 'ListView');
    this.keep(members);
  }

  override get types(): string[] {
    return ['ListView', 'ManagedObjectView', 'View'];
  }

  property(name: string): unknown {
    return name === 'view' ? this.members : undefined;
  }

  propertyNames(): string[] {
    return ['view'];
  }

  ModifyListView(args: {
    add?: ManagedObjectReference[];
    remove?: ManagedObjectReference[];
  }): ManagedObjectReference[] {
    const unresolved = (args.add ?? []).filter((ref) => this.registry.find(ref) === undefined);
    const removed = new Set((args.remove ?? []).map((ref) => ref.value));
    const members = new Map(this.members.filter((ref) => !removed.has(ref.value)).map((ref) => [ref.value, ref]));
    for (const ref of args.add ?? [])
      if (this.registry.find(ref) !== undefined && !members.has(ref.value)) members.set(ref.value, ref);
    this.become([...members.values()]);
    return unresolved;
  }

  ResetListView(args: { obj?: ManagedObjectReference[] }): ManagedObjectReference[] {
    const wanted = new Map((args.obj ?? []).map((ref) => [ref.value, ref]));
    const isThere = (ref: ManagedObjectReference): boolean => this.registry.find(ref) !== undefined;
    this.become([...wanted.values()].filter(isThere));
    return [...wanted.values()].filter((ref) => !isThere(ref));
  }

  ResetListViewFromView(args: { view: ManagedObjectReference }): void {
    const other = this.registry.get(args.view);
    const members = other.property('view');
    if (!other.types.includes('View') || !Array.isArray(members))
      throw fault('InvalidArgument', `'${args.view.value}' is not a view`, { invalidProperty: 'view' });
    this.become([...(members as ManagedObjectReference[])]);
  }

  private become(members: ManagedObjectReference[]): void {
    this.keep(members);
    this.members = members;
    this.registry.touch(this, 'view');
  }
}
