/** What is done to a VM's own disks some time after it was powered off: see `src/hostd/disks/give-back.ts`. */
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { DatastorePlace } from '../datastore/datastore-places.js';
import { giveBack } from '../disks/give-back.js';
import type { VmDefinition } from '../runtime.js';

const log = logger('vm');
/** A VM that is off for less is about to be started again or destroyed. */
const IDLE_MS = 3_000;

/** What it needs of the VM. */
export interface IdleVm {
  readonly directory: string;
  readonly isOff: boolean;
  definition(): VmDefinition;
  exclusive<T>(body: () => Promise<T>): Promise<T>;
}

/** @param isElsewhere true for a disk that another VM has too */
export function giveBackWhenIdle(
  vm: IdleVm,
  places: readonly DatastorePlace[],
  isElsewhere: (path: string) => boolean,
): void {
  const look = async (): Promise<void> => {
    // Nothing starts the VM meanwhile.
    if (!vm.isOff) return;
    const definition = vm.definition();
    const disks = definition.disks.filter(
      ({ path, readOnly }) => !readOnly && path.startsWith(`${vm.directory}/`) && !isElsewhere(path),
    );
    if (disks.length === 0) return;
    const bytes = await giveBack({ ...definition, disks }, places);
    if (bytes > 0)
      log.info({ vm: definition.name, bytes }, 'a VM that is off has given back what its disk no longer needs');
  };
  setTimeout(
    () =>
      void vm.exclusive(look).catch((error: unknown) => log.debug({ err: messageOf(error) }, 'a VM was not looked at')),
    IDLE_MS,
  ).unref();
}
