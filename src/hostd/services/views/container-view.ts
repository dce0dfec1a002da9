/** ContainerView: all objects of some types below a container. */
import type { ManagedObjectReference } from '../../../vim25/server.js';
import type { ManagedObject } from '../../objects/managed-object.js';
import type { Registry } from '../../objects/registry.js';
import { View } from './view.js';

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
