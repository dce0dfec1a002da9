/** What a container's machine has for its volumes: their disks and, for those that it shares, cards on their segments. */
import type { Attachment, ManagedObjectReference, VimClient, VirtualMachineConfigSpec } from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import { type Card, cardsOf } from '../network/endpoints.js';
import { attachedDisks, type VolumeDisk, volumeDiskName, volumeDisks } from '../storage/volume-disks.js';
import { sharingCard } from '../storage/volume-sharing.js';
import type { ContainerSpec } from './container-spec.js';
import type { Handle } from './handle.js';

type DeviceChange = NonNullable<VirtualMachineConfigSpec['deviceChange']>[number];

/** Keys of new devices in a request are negative; the host assigns the real ones. */
export const controllerKey = (bus: number): number => -100 - bus;

/** A volume's disk in a request. @param controller the key of its controller */
export function addedDisk(
  config: VchConfig,
  { volume, store, bus, unit, readOnly }: VolumeDisk,
  controller = controllerKey(bus),
): DeviceChange {
  return {
    operation: 'add',
    device: {
      $type: 'VirtualDisk',
      key: -200 - bus * 16 - unit,
      controllerKey: controller,
      unitNumber: unit,
      capacityInKB: 0,
      backing: {
        $type: 'VirtualDiskFlatVer2BackingInfo',
        fileName: volumeDiskName(config, volume, store),
        // Independent, so that no snapshot of the VM holds on to a volume. A non-persistent one is opened for reading only.
        diskMode: readOnly ? 'independent_nonpersistent' : 'independent_persistent',
        thinProvisioned: true,
      },
    },
  };
}

/** The devices of a machine that matter here. */
export interface VolumeHardware {
  cards: Card[];
  disks: { key: number; bus: number; unit: number }[];
  /** Keys of the controllers, by bus. */
  controllers: ReadonlyMap<number, number>;
}

/** As the machine is now. */
export async function readVolumeHardware(client: VimClient, vm: ManagedObjectReference): Promise<VolumeHardware> {
  const [object] = await client.retrieve([vm], 'VirtualMachine', ['config.hardware']);
  const devices = (object?.props['config.hardware']?.device ?? []) as readonly {
    key: number;
    busNumber?: number;
    controllerKey?: number;
    unitNumber?: number;
    backing?: { fileName?: unknown };
  }[];
  const controllers = new Map<number, number>();
  // Of SCSI: the others have keys of three digits.
  for (const { key, busNumber, controllerKey: above } of devices)
    if (busNumber !== undefined && key >= 1000 && (above === undefined || above < 1000))
      controllers.set(busNumber, key);
  const buses = new Map([...controllers].map(([bus, key]) => [key, bus]));
  const disks = devices.flatMap(({ key, controllerKey: above = 0, unitNumber: unit, backing }) => {
    const bus = buses.get(above);
    return bus === undefined || unit === undefined || backing?.fileName === undefined ? [] : [{ key, bus, unit }];
  });
  return { cards: cardsOf(devices), disks, controllers };
}

/** MAC addresses of the cards that are on segments of volumes, not on networks. */
export const sharingMacs = ({ sharing = [] }: Pick<ContainerSpec, 'sharing'>): ReadonlySet<string> =>
  new Set(sharing.map((one) => sharingCard(one).mac));

/** Cards on networks. @param specs the container's, which tell the others */
export function networkCards(cards: readonly Card[], ...specs: Pick<ContainerSpec, 'sharing'>[]): Card[] {
  const others = new Set(specs.flatMap((spec) => [...sharingMacs(spec)]));
  return others.size === 0 ? [...cards] : cards.filter(({ mac }) => !others.has(mac));
}

/** What a machine that is off has to get and to lose. */
export interface VolumeChanges {
  removedCards: Card[];
  addedCards: (Attachment & { mac: string })[];
  removedDisks: number[];
  addedDisks: DeviceChange[];
  /** The place of each card among those that the machine then has, by MAC address. */
  order: ReadonlyMap<string, number>;
}

/**
 * The changes that give it what its spec says.
 * @param before the spec that its hardware was made for @param segmentOf where the cards belong
 */
export function volumeChanges(
  config: VchConfig,
  { before, spec, hardware }: { before: ContainerSpec; spec: ContainerSpec; hardware: VolumeHardware },
  segmentOf: (volume: string) => Attachment,
): VolumeChanges {
  const wanted = (spec.sharing ?? []).map((one) => ({ ...segmentOf(one.volume), mac: sharingCard(one).mac }));
  const macs = new Set(wanted.map(({ mac }) => mac));
  const former = sharingMacs(before);
  const removedCards = hardware.cards.filter(({ mac }) => former.has(mac) && !macs.has(mac));
  const stay = hardware.cards.filter((card) => !removedCards.includes(card));
  const addedCards = wanted.filter(({ mac }) => !stay.some((card) => card.mac === mac));
  const attached = attachedDisks(spec);
  const at = (disk: { bus: number; unit: number }): string => `${disk.bus}:${disk.unit}`;
  const places = new Set(attached.map(at));
  const own = new Set(volumeDisks(spec).map(at));
  const there = new Set(hardware.disks.map(at));
  return {
    removedCards,
    addedCards,
    removedDisks: hardware.disks.filter((disk) => own.has(at(disk)) && !places.has(at(disk))).map(({ key }) => key),
    addedDisks: attached
      .filter((disk) => !there.has(at(disk)))
      .map((disk) => addedDisk(config, disk, hardware.controllers.get(disk.bus))),
    order: cardOrder(stay, addedCards),
  };
}

/** A host gives a new card the lowest free key; guests number cards by their keys. */
function cardOrder(stay: readonly Card[], added: readonly { mac: string }[]): Map<string, number> {
  const first = Math.min(4000, ...stay.map(({ key }) => key));
  const all = stay.map(({ key, mac }) => ({ key, mac }));
  for (const { mac } of added) {
    let key = first;
    while (all.some((one) => one.key === key)) key++;
    all.push({ key, mac });
  }
  all.sort((one, other) => one.key - other.key);
  return new Map(all.map(({ mac }, index) => [mac, index]));
}

/** Gathers the changes. */
export function joinVolumeChanges(handle: Handle, changes: VolumeChanges): void {
  for (const { key } of changes.removedCards) handle.removeCard(key);
  for (const key of changes.removedDisks) handle.removeDisk(key);
  for (const card of changes.addedCards) handle.addCard(card);
  for (const disk of changes.addedDisks) handle.addDisk(disk);
}
