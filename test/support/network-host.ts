/**
 * A vim25 host as far as networks go: port groups, and VMs with keys and cards. Every change is one step, as on a real host; a client of it can
 * be killed between any two, or be told once that a change has failed.
 */
import { type VimClient, VimFault } from '../../src/vim25/index.js';

type Keys = Map<string, string>;
interface HostCard {
  key: number;
  mac: string;
  portGroup: string;
}
export interface HostVm {
  name: string;
  keys: Keys;
  cards: HostCard[];
  on: boolean;
  version: number;
}
interface Spec {
  extraConfig?: { key: string; value?: unknown }[];
  changeVersion?: string;
  deviceChange?: {
    operation: string;
    device: { key: number; macAddress?: string; backing?: { deviceName: string } };
  }[];
}
interface Ref {
  type: string;
  value: string;
}

export const POOL = { type: 'ResourcePool', value: 'pool' };
const FIRST_CARD = 4000;

export class NetworkHost {
  readonly portGroups = new Set<string>();
  readonly vms = new Map<string, HostVm>();
  private made = 0;

  /** @param onPowerOn its guest starts */
  constructor(private readonly onPowerOn: (moid: string, vm: HostVm) => void = () => undefined) {}

  addVm(name: string, keys: Record<string, string>, portGroups: readonly string[]): Ref {
    const vm: HostVm = { name, keys: new Map(Object.entries(keys)), cards: [], on: false, version: 1 };
    for (const portGroup of portGroups) this.addCard(vm, portGroup, undefined);
    const moid = `vm-${++this.made}`;
    this.vms.set(moid, vm);
    return { type: 'VirtualMachine', value: moid };
  }

  /**
   * A client. @param before is asked before each change: `die` kills the client, so that nothing it asks for from then on is done; `fail` lets
   * this change fail; `lose` does it, and says that it failed
   */
  client(before: () => 'do' | 'die' | 'fail' | 'lose'): VimClient {
    let dead = false;
    const change = async (body: () => void): Promise<void> => {
      await Promise.resolve();
      const how = dead ? 'die' : before();
      dead ||= how === 'die';
      if (how === 'die') throw new Error('killed');
      if (how === 'fail') throw fault('InvalidState', 'not now');
      body();
      if (how === 'lose') throw new Error('the connection was closed');
    };
    return {
      serviceContent: { about: { vendor: 'Caisson' } },
      retrieve: async (refs: Ref[]) => {
        await Promise.resolve();
        if (dead) throw new Error('killed');
        return refs.flatMap((ref) => {
          const props = this.properties(ref);
          return props === undefined ? [] : [{ ref, props }];
        });
      },
      call: (name: string, _ref: Ref, args: { portgrp?: { name: string }; pgName?: string }) =>
        change(() =>
          name === 'AddPortGroup' ? this.addPortGroup(args.portgrp!.name) : this.removePortGroup(args.pgName!),
        ),
      runTask: (name: string, ref: Ref, args: { spec: Spec }) =>
        change(() => {
          if (name === 'PowerOnVM_Task') this.powerOn(ref.value);
          else this.reconfigure(ref, args.spec);
        }),
    } as unknown as VimClient;
  }

  private properties({ type, value }: Ref): Record<string, unknown> | undefined {
    const vm = this.vms.get(value);
    switch (type) {
      case 'ResourcePool':
        return {
          vm: [...this.vms.keys()].map((moid) => ({ type: 'VirtualMachine', value: moid })),
          owner: { type: 'ComputeResource', value: 'compute' },
        };
      case 'ComputeResource':
        return { host: [{ type: 'HostSystem', value: 'host' }] };
      case 'HostSystem':
        return { configManager: { networkSystem: { type: 'HostNetworkSystem', value: 'network' } } };
      case 'HostNetworkSystem':
        return {
          networkInfo: {
            portgroup: [...this.portGroups].map((name) => ({ spec: { name, vlanId: 0, vswitchName: 'vSwitch0' } })),
          },
        };
      default:
        return vm === undefined
          ? undefined
          : {
              name: vm.name,
              'config.extraConfig': [...vm.keys].map(([key, text]) => ({ key, value: text })),
              'config.hardware': {
                device: vm.cards.map(({ key, mac, portGroup }) => ({
                  key,
                  macAddress: mac,
                  backing: { $type: 'VirtualEthernetCardNetworkBackingInfo', deviceName: portGroup },
                })),
              },
              'config.changeVersion': String(vm.version),
            };
    }
  }

  private powerOn(moid: string): void {
    const vm = this.vms.get(moid)!;
    vm.on = true;
    this.onPowerOn(moid, vm);
  }

  private addPortGroup(name: string): void {
    if (this.portGroups.has(name)) throw fault('AlreadyExists', name);
    this.portGroups.add(name);
  }

  private removePortGroup(name: string): void {
    if (!this.portGroups.has(name)) throw fault('NotFound', name);
    for (const { cards } of this.vms.values())
      if (cards.some(({ portGroup }) => portGroup === name)) throw fault('ResourceInUse', name);
    this.portGroups.delete(name);
  }

  private reconfigure({ value }: Ref, { extraConfig = [], changeVersion, deviceChange = [] }: Spec): void {
    const vm = this.vms.get(value);
    if (vm === undefined) throw fault('ManagedObjectNotFound', value);
    if (changeVersion !== undefined && changeVersion !== String(vm.version)) throw fault('ConcurrentAccess', value);
    const next: HostVm = { ...vm, cards: vm.cards.map((card) => ({ ...card })) };
    for (const { operation, device } of deviceChange) {
      const portGroup = device.backing?.deviceName ?? '';
      const at = next.cards.findIndex(({ key }) => key === device.key);
      if (operation !== 'add' && at < 0) throw fault('DeviceNotFound', String(device.key));
      if (operation !== 'remove' && !this.portGroups.has(portGroup)) throw fault('InvalidDeviceBacking', portGroup);
      if (operation === 'add') this.addCard(next, portGroup, device.macAddress);
      else if (operation === 'remove') next.cards.splice(at, 1);
      else next.cards[at]!.portGroup = portGroup;
    }
    vm.cards = next.cards;
    vm.version++;
    for (const { key, value: text } of extraConfig)
      if (text === '') vm.keys.delete(key);
      else vm.keys.set(key, String(text));
  }

  private addCard(vm: HostVm, portGroup: string, mac = `00:50:56:00:00:${(++this.made).toString(16)}`): void {
    let key = FIRST_CARD;
    while (vm.cards.some((card) => card.key === key)) key++;
    vm.cards.push({ key, mac, portGroup });
  }
}

const fault = (type: string, message: string): VimFault => new VimFault('test', { $type: type } as never, message);
