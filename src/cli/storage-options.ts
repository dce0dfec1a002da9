/** Options of `vic-machine configure` about what a virtual container host's storage may take. */
import type { Command } from 'commander';
import type { VchConfig } from '../../port-layer/config.js';
import { invalid } from '../common/errors.js';
import { parsedQuota, parsedReserve } from './size-options.js';

/** As commander returns them. */
export interface StorageOptions {
  storageQuota?: string;
  storageReserve?: string;
  imageQuota?: string;
}

/** As an option's value: back to the default. */
const NONE = 'none';

/** Adds the options to a command. */
export function storageOptions(command: Command): Command {
  return command
    .option('--storage-quota <size|none>', 'what images, containers and volumes may take together, such as 20GiB')
    .option('--storage-reserve <part|size|none>', 'room that images, volumes and copies leave free, such as 5% or 2GiB')
    .option('--image-quota <GiB|none>', 'what all images may take');
}

/** What the options make of the present settings; those that are not named stay. @throws invalid */
export function changedStorage(options: StorageOptions, now: VchConfig['storage']): VchConfig['storage'] {
  const { storageQuota, storageReserve, imageQuota } = options;
  const parsed = {
    quota: read(storageQuota, parsedQuota),
    reserve: read(storageReserve, parsedReserve),
    imageQuotaGiB: read(imageQuota, (text) => {
      if (!/^[1-9]\d*$/.test(text)) throw invalid(`--image-quota takes a positive number, not '${text}'`);
      return Number(text);
    }),
  };
  const named = Object.entries(parsed).filter(([, value]) => value !== undefined);
  if (named.length === 0) return now;
  const next = Object.entries({ ...now, ...Object.fromEntries(named) }).filter(([, value]) => value !== null);
  return Object.fromEntries(next) as VchConfig['storage'];
}

/** Undefined: not named. Null: none. */
function read<T>(text: string | undefined, parse: (text: string) => T): T | null | undefined {
  if (text === undefined) return undefined;
  return text === NONE ? null : parse(text);
}
