/** All containers of the virtual container host, by id and name; kept current by watching their VMs. */

import { PortLayerError } from '../errors.js';
import type { Container } from './container.js';

/** Finds containers by name, id, or the beginning of an id. */
export class ContainerCache {
  private readonly byId = new Map<string, Container>();
  /** Names of containers that are being created. */
  private readonly reserved = new Map<string, string>();

  add(container: Container): void {
    this.byId.set(container.id, container);
  }

  delete(id: string): void {
    this.byId.delete(id);
  }

  get(id: string): Container | undefined {
    return this.byId.get(id);
  }

  all(): Container[] {
    return [...this.byId.values()];
  }

  byVm(moid: string): Container | undefined {
    return this.all().find((container) => container.vm.value === moid);
  }

  /** By full id, name, or unique prefix of an id. @throws notFound, invalid (ambiguous) */
  resolve(reference: string): Container {
    const name = reference.replace(/^\//, '');
    const whole = this.byId.get(name);
    if (whole !== undefined) return whole;
    // A machine that only serves a volume is nobody's container: it goes by its whole id, which nobody else is told.
    const all = this.all().filter(({ spec }) => spec.servesVolume === undefined);
    const exact = all.find((container) => container.spec.name === name);
    if (exact !== undefined) return exact;
    const matching = /^[0-9a-f]+$/.test(name) ? all.filter((container) => container.id.startsWith(name)) : [];
    if (matching.length > 1) throw new PortLayerError('container.ambiguous', { prefix: name });
    if (matching.length === 0) throw new PortLayerError('container.notFound', { reference });
    return matching[0]!;
  }

  /** Reserves a name for a container. @throws conflict when another one has it. @returns a function that gives it back */
  reserve(name: string, id: string): () => void {
    const holder = this.all().find((container) => container.spec.name === name)?.id ?? this.reserved.get(name);
    if (holder !== undefined && holder !== id) throw new PortLayerError('container.nameTaken', { name, holder });
    this.reserved.set(name, id);
    return () => this.reserved.delete(name);
  }
}
