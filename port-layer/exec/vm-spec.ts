/** A container as a virtual machine: names, hardware and keys (see docs/internals/guest-rpc.md). */
import { shortId } from '../../src/common/ids.js';
import { type Attachment, datastorePath, type VirtualMachineConfigSpec } from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import { isLeased } from '../network/leases.js';
import type { NetworkEndpoint, NetworkWish } from '../network/types.js';
import { volumeDisks } from '../storage/volume-disks.js';
import { sharingCard, type VolumeSharing } from '../storage/volume-sharing.js';
import type { ContainerSpec } from './container-spec.js';
import { card } from './handle.js';
import { keptSpec } from './kept-spec.js';
import { addedDisk, controllerKey } from './volume-hardware.js';

export const SPEC_KEY = 'caisson.container';
export const OWNER_KEY = 'caisson.vch';
/** How many bytes of the output log's end must stay on the datastore, for hosts that can drop the rest. */
export const KEEP_LOG_KEY = 'caisson.log.keep';
/** From which addresses each card may send, `MAC=address,address;…`, for hosts that check it. The guest can neither read nor write it. */
export const ADDRESSES_KEY = 'caisson.addresses';
export const PROGRAM_KEY = 'guestinfo.caisson.program';
const MAX_VM_NAME = 80;

/** Directory of a container's VM, relative to the datastore. */
export function vmDirectory(config: VchConfig, id: string): string {
  return [config.imageStore.path, id].filter((part) => part !== '').join('/');
}

/** The VM's name in the inventory. */
export function vmName(name: string, id: string): string {
  return `${name.slice(0, MAX_VM_NAME - 13)}-${shortId(id)}`;
}

/** Path of the unix socket on which the endpoint waits for the container's VM. */
export function channelPath(config: VchConfig, id: string): string {
  return `${config.channelDir}/${shortId(id)}.sock`;
}

/** The ports that a container publishes on container networks, for a host that is their switch. */
const TRUST_KEY = 'caisson.trust';

/** That key, for a container with a card on a container network: `MAC=80/tcp,8000-8010/udp;MAC=…`. */
export function trustKeys(
  endpoints: readonly NetworkEndpoint[],
  ports: ContainerSpec['openPorts'] = [],
): [key: string, value: string][] {
  const range = ({ first, last }: { first: number; last: number }): string =>
    first === last ? `${first}` : `${first}-${last}`;
  const list = ports.map((port) => `${range(port)}/${port.protocol}`).join(',');
  const cards = endpoints.filter(({ external }) => external !== undefined).map(({ mac }) => `${mac}=${list}`);
  return cards.length === 0 ? [] : [[TRUST_KEY, cards.join(';')]];
}

/** The value of {@link ADDRESSES_KEY}. @param sharing what its cards on segments of volumes are for */
export function addressesValue(endpoints: readonly NetworkEndpoint[], sharing: readonly VolumeSharing[] = []): string {
  // A container without addresses must still set the key: without it, the host would let its cards send from any address.
  // What DHCP gives is for the host to see: the address may be another one soon.
  const own = (one: NetworkEndpoint): string[] => (isLeased(one) ? [] : [one.address, one.address6]);
  const cards = endpoints.map(
    (one) =>
      `${one.mac}=${own(one)
        .filter((address) => address !== '')
        .join(',')}`,
  );
  const shared = sharing.map(sharingCard).map(({ mac, address }) => `${mac}=${address}`);
  return [...cards, ...shared].join(';') || 'none';
}

/**
 * The VM of a new container.
 * @param parentDisk path of the image's last layer, relative to the datastore
 * @param attachmentOf where its cards belong
 */
export function containerVmSpec(
  config: VchConfig,
  spec: ContainerSpec,
  parentDisk: string,
  attachmentOf: (wish: NetworkWish) => Attachment,
): VirtualMachineConfigSpec {
  const { datastore } = config.imageStore;
  const directory = vmDirectory(config, spec.id);
  const at = (path: string): string => datastorePath(datastore, path);
  const volumes = volumeDisks(spec);
  const buses = Math.max(0, ...volumes.map(({ bus }) => bus)) + 1;
  return {
    name: vmName(spec.name, spec.id),
    guestId: 'other5xLinux64Guest',
    annotation: `Container ${spec.name} of ${spec.imageName}`,
    files: { vmPathName: at(`${directory}/${spec.id}.vmx`) },
    numCPUs: spec.cpus,
    memoryMB: spec.memoryMiB,
    ...(spec.cpuShares === undefined
      ? {}
      : { cpuAllocation: { shares: { level: 'custom' as const, shares: spec.cpuShares } } }),
    deviceChange: [
      ...Array.from({ length: buses }, (_, bus) => ({
        operation: 'add' as const,
        device: {
          $type: 'ParaVirtualSCSIController' as const,
          key: controllerKey(bus),
          busNumber: bus,
          sharedBus: 'noSharing' as const,
        },
      })),
      {
        operation: 'add',
        fileOperation: 'create',
        device: {
          $type: 'VirtualDisk',
          key: -2,
          controllerKey: controllerKey(0),
          unitNumber: 0,
          capacityInKB: 0,
          backing: {
            $type: 'VirtualDiskFlatVer2BackingInfo',
            fileName: at(`${directory}/${spec.id}.vmdk`),
            diskMode: 'persistent',
            thinProvisioned: true,
            parent: { fileName: at(parentDisk), diskMode: 'persistent' },
          },
        },
      },
      ...volumes.map((disk) => addedDisk(config, disk)),
      ...spec.networks.map((wish, index) => ({
        operation: 'add' as const,
        device: card(-10 - index, attachmentOf(wish), wish.mac),
      })),
      {
        operation: 'add',
        device: {
          $type: 'VirtualSerialPort',
          key: -20,
          yieldOnPoll: true,
          backing: {
            $type: 'VirtualSerialPortURIBackingInfo',
            serviceURI: `unix://${channelPath(config, spec.id)}`,
            direction: 'client',
          },
        },
      },
      {
        operation: 'add',
        device: {
          $type: 'VirtualSerialPort',
          key: -21,
          yieldOnPoll: true,
          backing: { $type: 'VirtualSerialPortFileBackingInfo', fileName: at(`${directory}/output.log`) },
        },
      },
    ],
    extraConfig: [
      { key: SPEC_KEY, value: keptSpec(spec) },
      { key: OWNER_KEY, value: config.id },
      ...(spec.log?.keepBytes === undefined ? [] : [{ key: KEEP_LOG_KEY, value: String(spec.log.keepBytes) }]),
    ],
  };
}
