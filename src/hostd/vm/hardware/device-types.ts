/** Types of a device as vim25 and .vmx files name them. Whatever the type, the guest sees a virtio device. */

/** One kind's types. */
export class DeviceTypes {
  /** @param byVmxName vim25 types by their names in .vmx files, the default first */
  constructor(private readonly byVmxName: ReadonlyMap<string, string>) {}

  /** The vim25 types. */
  all(): string[] {
    return [...this.byVmxName.values()];
  }

  /** The vim25 type of a name in a .vmx file; the default for an unknown name. */
  fromVmx(name: string): string {
    return this.byVmxName.get(name) ?? [...this.byVmxName.values()][0]!;
  }

  toVmx(type: string): string {
    return [...this.byVmxName].find(([, one]) => one === type)?.[0] ?? [...this.byVmxName.keys()][0]!;
  }
}
