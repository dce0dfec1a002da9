/** Views: live lists of objects, for the property collector. */
import { randomUUID } from 'node:crypto';
import type { ManagedObjectReference } from '../../vim25/types.generated.js';
import { holdForCaller } from '../access/caller.js';
import { NOTHING_HELD, sizeOf } from '../access/holdings.js';
import { fault } from '../faults.js';
import type { CallContext } from './session-manager.js';
import { ManagedObject } from '../objects/managed-object.js';
import type { Registry } from '../objects/registry.js';

/** Makes views. */
export class ViewManager extends ManagedObject {
  /** @param views those of the session that asks */
  constructor(
    private readonly registry: Registry,
    private readonly views: () => ManagedObjectReference[],
  ) {
    super('ViewManager', 'ViewManager');
  }

  override get types(): string[] {
    return ['ViewManager'];
  }

  property(name: string): unknown {
    return name === 'viewList' ? this.views() : undefined;
  }

  propertyNames(): string[] {
    return ['viewList'];
  }

  CreateContainerView(
    args: { container: ManagedObjectReference; type?: string[]; recursive: boolean },
    context: CallContext,
  ): ManagedObjectReference {
    const container = this.registry.get(args.container);
    const view = this.registry.add(new ContainerView(this.registry, container, args.type ?? [], args.recursive));
    context.session.views.add(view);
    return view.ref;
  }

  CreateListView(args: { obj?: ManagedObjectReference[] }, context: CallContext): ManagedObjectReference {
    const view = this.registry.add(new ListView(this.registry, args.obj ?? []));
    context.session.views.add(view);
    return view.ref;
  }
}

const VIEW_BYTES = 32 * 1024;

abstract class View extends ManagedObject {
  private kept = NOTHING_HELD;

  constructor(
    protected readonly registry: Registry,
    type: string,
  ) {
    super(type, `session[${randomUUID()}]${type}`);
  }

  /** Counts what it keeps for its owner, instead of what it kept before. @throws LimitExceeded; it is as it was then */
  protected keep(content: unknown): void {
    const kept = holdForCaller(VIEW_BYTES + sizeOf(content));
    this.kept();
    this.kept = kept;
  }

  /** Ends with its session. */
  dispose(): void {
    this.registry.remove(this);
    this.kept();
  }

  DestroyView(_args: unknown, context: CallContext): void {
    context.session.views.delete(this);
    this.dispose();
  }
}

/** All objects of some types below a container. */
export class ContainerView extends View {
  constructor(
    registry: Registry,
    private readonly container: ManagedObject,
    private readonly wanted: string[],
    private readonly recursive: boolean,
  ) {
    super(registry, 'ContainerView');
    this.keep(wanted);
  }

  override get types(): string[] {
    return ['ContainerView', 'ManagedObjectView', 'View'];
  }

  property(name: string): unknown {
    if (name === 'view') return this.list();
    if (name === 'container') return this.container.ref;
    if (name === 'type') return this.wanted;
    return name === 'recursive' ? this.recursive : undefined;
  }

  propertyNames(): string[] {
    return ['container', 'recursive', 'type', 'view'];
  }

  private list(): ManagedObjectReference[] {
    const found: ManagedObjectReference[] = [];
    for (const object of this.registry.all()) {
      if (object === this.container || !object.types.includes('ManagedEntity')) continue;
      if (this.wanted.length > 0 && !this.wanted.some((type) => object.types.includes(type))) continue;
      if (this.contains(object)) found.push(object.ref);
    }
    return found;
  }

  private contains(object: ManagedObject): boolean {
    // A resource pool holds VMs beside those of its folder.
    for (const property of ['parent', 'resourcePool']) {
      let at = object.property(property) as ManagedObjectReference | undefined;
      for (let depth = 0; at !== undefined && !Array.isArray(at) && depth < 32; depth++) {
        if (at.value === this.container.ref.value) return true;
        if (!this.recursive) break;
        at = this.registry.find(at)?.property('parent') as ManagedObjectReference | undefined;
      }
    }
    return false;
  }
}

/** A list the client keeps. */
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
