/** ViewManager: makes views. */
import type { ManagedObjectReference } from '../../../vim25/server.js';
import type { CallContext } from '../../objects/call-context.js';
import { ManagedObject } from '../../objects/managed-object.js';
import type { Registry } from '../../objects/registry.js';
import { VIEW_MANAGER } from '../../references.js';
import { ContainerView } from './container-view.js';
import { ListView } from './list-view.js';

export class ViewManager extends ManagedObject {
  /** @param views those of the session that asks */
  constructor(
    private readonly registry: Registry,
    private readonly views: () => ManagedObjectReference[],
  ) {
    super('ViewManager', VIEW_MANAGER.value);
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
