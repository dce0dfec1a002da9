/**
 * A vim25 host with any number of VMs, for containers that share volumes: devices, keys, power, port groups, and guests that do what they are
 * told at once. It refuses what no host may let happen: two machines with one disk.
 */
import type { Containers } from '../../port-layer/exec/containers.js';
import { readVm } from '../../port-layer/exec/vm-report.js';
import type { Segments } from '../../port-layer/network/volume-segments.js';
import { conflict } from '../../src/common/errors.js';
import { type ManagedObjectReference, type VimClient, VimFault } from '../../src/vim25/index.js';
import type { DiskRef, VolumeServing } from '../../tether/program/spec.js';

interface Device {
  $type: string;
  key: number;
  controllerKey?: number;
  unitNumber?: number;
  macAddress?: string;
  busNumber?: number;
  backing?: { fileName?: string; diskMode?: string; deviceName?: string };
}

interface Spec {
  extraConfig?: { key: string; value?: unknown }[];
  deviceChange?: { operation: string; device: Device }[];
  changeVersion?: string;
}

/** One VM. */
export interface FakeVm {
  ref: ManagedObjectReference;
  keys: Map<string, string>;
  devices: Device[];
  on: boolean;
  version: number;
  /** Disks that its guest serves, `bus:unit`. */
  serves: Set<string>;
}

const STATUS = 'guestinfo.caisson.run.status';
const SHARED = /^segment of /;

/** See the file's head. */
export class VolumeHost {
  readonly vms = new Map<string, FakeVm>();
  readonly portGroups = new Set<string>();
  /** What must never happen, and did. */
  readonly wrong: string[] = [];
  /** Called before each change: it may throw. */
  trouble: (what: string) => void = () => undefined;
  private next = 1;
  private listener: Containers | null = null;

  /** The endpoint that is told what happens; all others are dead. */
  watchedBy(containers: Containers | null): void {
    this.listener = containers;
    if (containers !== null) for (const vm of this.vms.values()) this.tell(vm);
  }

  /** A client for one endpoint. @param isDead it has been killed */
  client(isDead: () => boolean): VimClient {
    const alive = async (what: string): Promise<void> => {
      await new Promise((resolve) => setImmediate(resolve));
      if (isDead()) throw new Error('this endpoint is dead');
      this.trouble(what);
    };
    return {
      runTask: async (name: string, ref: ManagedObjectReference, args: { config?: Spec; spec?: Spec }) => {
        await alive(name);
        return this.runTask(name, ref, args);
      },
      retrieve: async (refs: ManagedObjectReference[]) => {
        await alive('retrieve');
        return refs.flatMap(({ value }) => {
          const vm = this.vms.get(value);
          return vm === undefined ? [] : [{ ref: vm.ref, props: propertiesOf(vm) }];
        });
      },
    } as unknown as VimClient;
  }

  segments(isDead: () => boolean): Segments {
    const alive = async (what: string): Promise<void> => {
      await new Promise((resolve) => setImmediate(resolve));
      if (isDead()) throw new Error('this endpoint is dead');
      this.trouble(what);
    };
    const attachmentOf = (volume: string): { portGroup: string } => ({ portGroup: `segment of ${volume}` });
    return {
      attachmentOf,
      list: async () => [...this.portGroups],
      add: async (volume) => {
        await alive('AddPortGroup');
        this.portGroups.add(attachmentOf(volume).portGroup);
      },
      remove: async (name) => {
        await alive('RemovePortGroup');
        for (const { devices } of this.vms.values())
          if (devices.some(({ backing }) => backing?.deviceName === name)) throw conflict(`${name} is in use`);
        this.portGroups.delete(name);
      },
    };
  }

  /** What the guest of a VM is asked to do. @throws when it does not run */
  serve(moid: string, serving: VolumeServing): void {
    const vm = this.running(moid);
    const disk = this.diskAt(vm, serving.disk);
    if (disk === undefined) this.wrong.push(`${moid} was to serve a disk that it does not have`);
    if (!vm.devices.some(({ macAddress }) => macAddress === serving.card.mac))
      this.wrong.push(`${moid} was to serve by a card that it does not have`);
    vm.serves.add(`${serving.disk.bus}:${serving.disk.unit}`);
  }

  unserve(moid: string, disk: DiskRef): void {
    this.running(moid).serves.delete(`${disk.bus}:${disk.unit}`);
  }

  /** Its process ends, or its machine is killed. */
  end(vm: FakeVm, killed: boolean): void {
    if (!vm.on) return;
    vm.on = false;
    vm.serves.clear();
    vm.keys.set(STATUS, killed ? '' : `exited 0 0 0 ${Date.now()}000000`);
    this.tell(vm);
  }

  /** Cards on segments of volumes. */
  cards(): string[] {
    return [...this.vms.values()].flatMap(({ ref, devices }) =>
      devices.filter(({ backing }) => SHARED.test(backing?.deviceName ?? '')).map(() => ref.value),
    );
  }

  private running(moid: string): FakeVm {
    const vm = this.vms.get(moid);
    if (vm?.on !== true) throw conflict('it does not run');
    return vm;
  }

  private diskAt({ devices }: FakeVm, { bus, unit }: DiskRef): Device | undefined {
    return devices.find(({ controllerKey, unitNumber }) => controllerKey === 1000 + bus && unitNumber === unit);
  }

  private tell(vm: FakeVm): void {
    const props = propertiesOf(vm);
    this.listener?.observer.observe(readVm(vm.ref, (path) => props[path as keyof typeof props]));
  }

  private runTask(
    name: string,
    ref: ManagedObjectReference,
    { config, spec }: { config?: Spec; spec?: Spec },
  ): unknown {
    if (name === 'CreateVM_Task') {
      const value = `vm-${this.next++}`;
      const vm: FakeVm = {
        ...{ ref: { type: 'VirtualMachine', value }, keys: new Map(), devices: [] },
        ...{ on: false, version: 1, serves: new Set<string>() },
      };
      this.vms.set(value, vm);
      this.apply(vm, config ?? {});
      return vm.ref;
    }
    const vm = this.vms.get(ref.value);
    if (vm === undefined) throw new VimFault(name, { $type: 'ManagedObjectNotFound' }, 'it is gone');
    if (name === 'ReconfigVM_Task') {
      if (spec?.changeVersion !== String(vm.version))
        throw new VimFault(name, { $type: 'ConcurrentAccess' }, 'the VM has changed');
      this.apply(vm, spec);
      this.tell(vm);
    } else if (name === 'PowerOnVM_Task') this.powerOn(vm);
    else if (name === 'PowerOffVM_Task') {
      if (!vm.on) throw conflict('it is off');
      this.end(vm, true);
    } else if (name === 'Destroy_Task') {
      if (vm.on) throw conflict('it is on');
      this.vms.delete(ref.value);
      this.listener?.observer.vanished(ref);
    }
    return undefined;
  }

  private powerOn(vm: FakeVm): void {
    vm.on = true;
    vm.keys.set(STATUS, `started ${Date.now()}000000 1`);
    const files = new Map<string, boolean>();
    for (const { ref, devices, on } of this.vms.values())
      for (const { backing } of on ? devices : []) {
        if (backing?.fileName === undefined || !/volumes/.test(backing.fileName)) continue;
        if (files.has(backing.fileName)) this.wrong.push(`${ref.value} has a disk that another machine has`);
        files.set(backing.fileName, true);
      }
    this.tell(vm);
    setImmediate(() => {
      const container = this.listener?.observer === undefined ? undefined : this.listener.cache.byVm(vm.ref.value);
      if (vm.on) container?.channel?.emit('started', 0, 1);
    });
  }

  private apply(vm: FakeVm, { extraConfig = [], deviceChange = [] }: Spec): void {
    for (const { key, value } of extraConfig)
      if (value === '') vm.keys.delete(key);
      else vm.keys.set(key, String(value));
    for (const { operation, device } of deviceChange) {
      if (operation === 'remove') vm.devices = vm.devices.filter(({ key }) => key !== device.key);
      else vm.devices.push(this.placed(vm, device));
    }
    vm.version++;
  }

  private placed(vm: FakeVm, device: Device): Device {
    const bus = (device.controllerKey ?? 0) < 0 ? -100 - device.controllerKey! : (device.controllerKey ?? 1000) - 1000;
    switch (device.$type) {
      case 'ParaVirtualSCSIController':
        return { ...device, key: 1000 + (device.busNumber ?? 0) };
      case 'VirtualDisk':
        if (this.diskAt(vm, { bus, unit: device.unitNumber! })) this.wrong.push('two disks in one place');
        return { ...device, key: 2000 + bus * 16 + device.unitNumber!, controllerKey: 1000 + bus };
      case 'VirtualVmxnet3': {
        if (!this.portGroups.has(device.backing?.deviceName ?? '')) this.wrong.push('a card on no port group');
        let key = 4000;
        while (vm.devices.some((one) => one.key === key)) key++;
        return { ...device, key };
      }
      default:
        return { ...device, key: 9000 - device.key };
    }
  }
}

function propertiesOf(vm: FakeVm): Record<string, unknown> {
  return {
    'runtime.powerState': vm.on ? 'poweredOn' : 'poweredOff',
    'config.extraConfig': [...vm.keys].map(([key, value]) => ({ key, value })),
    'config.changeVersion': String(vm.version),
    'config.uuid': vm.ref.value,
    'config.hardware': { device: vm.devices.map((device) => ({ ...device })) },
  };
}
