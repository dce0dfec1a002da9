/**
 * What a network card is attached to, and the backing that says so: the one place that knows how one becomes the other. Pure.
 *
 * A port group of a host's own (standard) switches goes by its name, which is the same on every host. One of a distributed switch goes by
 * its key and the switch's UUID (vSphere API: `VirtualEthernetCardDistributedVirtualPortBackingInfo`).
 */
import type {
  DistributedVirtualSwitchPortConnection,
  VirtualEthernetCardDistributedVirtualPortBackingInfo,
  VirtualEthernetCardNetworkBackingInfo,
} from './types.generated.js';

/** A port group of a distributed switch, as cards name it. */
export type DistributedPort = Required<Pick<DistributedVirtualSwitchPortConnection, 'portgroupKey' | 'switchUuid'>>;

/** A port group; of a host's own switch unless `distributed` is there. */
export interface Attachment {
  /** Its name; '' where a card of a distributed port group was read, which does not tell it. */
  portGroup: string;
  distributed?: DistributedPort | undefined;
}

type Backing =
  | (VirtualEthernetCardNetworkBackingInfo & { $type: 'VirtualEthernetCardNetworkBackingInfo' })
  | (VirtualEthernetCardDistributedVirtualPortBackingInfo & {
      $type: 'VirtualEthernetCardDistributedVirtualPortBackingInfo';
    });

/** The backing of a card that is to be attached there. */
export function backingOf({ portGroup, distributed }: Attachment): Backing {
  return distributed === undefined
    ? { $type: 'VirtualEthernetCardNetworkBackingInfo', deviceName: portGroup }
    : { $type: 'VirtualEthernetCardDistributedVirtualPortBackingInfo', port: { ...distributed } };
}

/** Where a card is attached by its backing; nowhere (an empty name) if that is of a kind that nobody here makes. */
export function attachmentOf(backing: object | undefined): Attachment {
  const { deviceName, port } = (backing ?? {}) as { deviceName?: unknown; port?: Partial<DistributedPort> };
  if (port?.portgroupKey !== undefined && port.switchUuid !== undefined)
    return { portGroup: '', distributed: { portgroupKey: port.portgroupKey, switchUuid: port.switchUuid } };
  return { portGroup: typeof deviceName === 'string' ? deviceName : '' };
}

/** The same for everything that is attached to the same port group, and for nothing else. */
export function segmentOf({ portGroup, distributed }: Attachment): string {
  return distributed === undefined ? `name ${portGroup}` : `key ${distributed.portgroupKey}`;
}
