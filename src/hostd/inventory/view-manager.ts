/** Views: live lists of objects, for the property collector. */
import { randomUUID } from 'node:crypto';
import type { ManagedObjectReference } from '../../vim25/types.generated.js';
import { fault } from '../faults.js';
import type { CallContext } from '../server/session.js';
import { ManagedObject } from './managed-object.js';
import type { Registry } from './registry.js';

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

abstract class View extends ManagedObject {
  constructor(
    protected readonly registry: Registry,
    type: string,
  ) {
    super(type, `session[${randomUUID()}]${type}`);
  }

  DestroyView(_args: unknown, context: CallContext): void {
    context.session.views.delete(this);
    this.registry.remove(this);
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
    const kept = this.members.filter((ref) => !removed.has(ref.value));
    this.members = [
      ...kept,
      ...(args.add ?? []).filter(
        (ref) => this.registry.find(ref) !== undefined && !kept.some((one) => one.value === ref.value),
      ),
    ];
    this.registry.touch(this, 'view');
    return unresolved;
  }

  ResetListView(args: { obj?: ManagedObjectReference[] }): ManagedObjectReference[] {
    const wanted = new Map((args.obj ?? []).map((ref) => [ref.value, ref]));
    const found = [...wanted.values()].filter((ref) => this.registry.find(ref) !== undefined);
    this.members = found;
    this.registry.touch(this, 'view');
    return [...wanted.values()].filter((ref) => !found.includes(ref));
  }

  ResetListViewFromView(args: { view: ManagedObjectReference }): void {
    const other = this.registry.get(args.view);
    const members = other.property('view');
    if (!other.types.includes('View') || !Array.isArray(members))
      throw fault('InvalidArgument', `'${args.view.value}' is not a view`, { invalidProperty: 'view' });
    this.members = [...(members as ManagedObjectReference[])];
    this.registry.touch(this, 'view');
  }
}
