/** Device changes of a running VM: which ones are possible, and which vim25 faults report those that fail. */
import { type ErrorKind, errnoOf, kindOf, messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { type FaultError, fault } from '../faults.js';
import type { RunningVm, RuntimeDevice, VmDefinition } from '../runtime.js';
import type { Hardware } from './hardware/hardware.js';

const log = logger('vm');

/** A device to be added or removed. */
export interface HotStep {
  operation: 'add' | 'remove';
  /** Key of the device. */
  key: number;
  kind: RuntimeDevice['kind'];
}

/**
 * The steps from one hardware to another, removals first, since a new disk may take the place of an old one. Null if the VM must be off for
 * it. While it runs, only network cards, disks and controllers without disks can be added and removed.
 */
export function hotSteps(before: Hardware, after: Hardware): HotStep[] | null {
  if (!same(before.serials, after.serials)) return null;
  // QEMU knows no controllers, but removing one would lose its disks.
  if (!before.controllers.every((one) => after.controllers.some((other) => same(one, other)))) return null;
  const nics = steps('nic', before.nics, after.nics);
  // A card that stays must keep its settings; a disk that differs counts as another disk in the same place.
  if (nics.some(({ key, operation }) => operation === 'remove' && after.nics.some((one) => one.key === key)))
    return null;
  const all = [...steps('disk', before.disks, after.disks), ...nics];
  return [
    ...all.filter(({ operation }) => operation === 'remove'),
    ...all.filter(({ operation }) => operation === 'add'),
  ];
}

function steps(
  kind: HotStep['kind'],
  before: readonly { key: number }[],
  after: readonly { key: number }[],
): HotStep[] {
  const without = (list: readonly { key: number }[], others: readonly { key: number }[]): { key: number }[] =>
    list.filter((one) => !others.some((other) => same(one, other)));
  return [
    ...without(before, after).map(({ key }) => ({ operation: 'remove' as const, key, kind })),
    ...without(after, before).map(({ key }) => ({ operation: 'add' as const, key, kind })),
  ];
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** What carrying out the steps needs. */
export interface HotContext {
  running: RunningVm;
  owner: Pick<VmDefinition, 'extraConfig' | 'vch'>;
  /** A step's device as the runtime knows it; a removed one as it was. */
  device(step: HotStep): RuntimeDevice;
  /** Its position in the request. */
  index(step: HotStep): number;
}

/** Carries out all of the steps or none. @throws vim25 faults */
export async function takeHotSteps(
  steps: readonly HotStep[],
  { running, owner, device, index }: HotContext,
): Promise<void> {
  const plug = (step: HotStep): Promise<void> => running.plug(device(step), owner);
  const unplug = (step: HotStep): Promise<void> => running.unplug(device(step));
  const done: HotStep[] = [];
  for (const step of steps) {
    try {
      await (step.operation === 'add' ? plug : unplug)(step);
      done.push(step);
    } catch (error) {
      for (const before of done.reverse())
        await (before.operation === 'add' ? unplug : plug)(before).catch((failure: unknown) =>
          log.error({ err: messageOf(failure) }, 'a device change of a running VM failed, and is not undone'),
        );
      throw hotFault(error, index(step));
    }
  }
}

const FAULTS: Partial<Record<ErrorKind, (message: string, index: number) => FaultError>> = {
  insufficientResources: (message) => fault('TooManyDevices', message, { property: 'deviceChange' }),
  timeout: (message) => fault('Timedout', message),
  unsupported: (message, deviceIndex) =>
    fault('DeviceHotPlugNotSupported', message, { property: 'device', deviceIndex }),
  invalid: (message, deviceIndex) => fault('InvalidDeviceBacking', message, { property: 'backing', deviceIndex }),
};

function hotFault(error: unknown, index: number): unknown {
  const message = messageOf(error);
  // The disk's file, or a file that it is based on, is missing.
  if (errnoOf((error as Error).cause) === 'ENOENT') return fault('FileNotFound', message, { file: message });
  return FAULTS[kindOf(error)]?.(message, index) ?? error;
}
