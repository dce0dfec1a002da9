/** Events, and which of them a filter lets through. */
import { type EventFilterSpec, isSubtype, type ManagedObjectReference } from '../../../vim25/server.js';
import { fault } from '../../faults.js';

/** Values in a filter: all are looked at for each event. */
const MAX_VALUES = 1000;

/** An event as it goes on the wire. */
export interface HostEvent {
  $type: string;
  key: number;
  chainId: number;
  createdTime: Date;
  userName: string;
  fullFormattedMessage: string;
  vm?: { name: string; vm: ManagedObjectReference };
  [element: string]: unknown;
}

/** @throws InvalidArgument */
export function checkFilter({ eventTypeId, type, userName }: EventFilterSpec): void {
  for (const values of [eventTypeId, type, userName?.userList])
    if (values !== undefined && values.length > MAX_VALUES)
      throw fault('InvalidArgument', `A filter has at most ${MAX_VALUES} values of each kind`, {
        invalidProperty: 'filter',
      });
}

/** True when an event passes a filter. Entities above VMs stand for all VMs. */
export function matches(filter: EventFilterSpec, event: HostEvent): boolean {
  const { entity, time, userName, eventTypeId, eventChainId } = filter;
  if (entity !== undefined && entity.entity.type === 'VirtualMachine' && event.vm?.vm.value !== entity.entity.value)
    return false;
  if (time?.beginTime !== undefined && event.createdTime < time.beginTime) return false;
  if (time?.endTime !== undefined && event.createdTime > time.endTime) return false;
  if (userName?.userList !== undefined && userName.userList.length > 0 && !userName.userList.includes(event.userName))
    return false;
  if (eventChainId !== undefined && eventChainId !== 0 && event.chainId !== eventChainId) return false;
  const types = [...(eventTypeId ?? []), ...(filter.type ?? [])].map((id) => id.split('.').at(-1)!);
  return types.length === 0 || types.some((type) => isSubtype(event.$type, type));
}
