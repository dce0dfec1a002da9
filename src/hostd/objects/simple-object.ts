/** A managed object that has properties only. */
import { ManagedObject } from './managed-object.js';

/** Properties are values, or functions that compute the value at each look. */
export class SimpleObject extends ManagedObject {
  constructor(
    type: string,
    value: string,
    private readonly properties: Record<string, unknown>,
    private readonly alsoOf: string[] = ['ManagedEntity'],
  ) {
    super(type, value);
  }

  override get types(): string[] {
    return [this.ref.type, ...this.alsoOf];
  }

  property(name: string): unknown {
    const value = Object.hasOwn(this.properties, name) ? this.properties[name] : undefined;
    return typeof value === 'function' ? (value as () => unknown)() : value;
  }

  propertyNames(): string[] {
    return Object.keys(this.properties);
  }
}
