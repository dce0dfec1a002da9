/** `vic-machine configure`: changes what a virtual container host's storage may take. The endpoint restarts; containers go on running. */
import type { Command } from 'commander';
import type { VchConfig } from '../../port-layer/config.js';
import { invalid } from '../common/errors.js';
import type { CommandParts } from './policy-commands.js';
import { parsedQuota, parsedReserve } from './size-options.js';
import { findVch, reconfigureVch } from './vch.js';

interface Options {
  name?: string;
  id?: string;
  storageQuota?: string;
  storageReserve?: string;
  imageQuota?: string;
}

/** As an option's value: back to the default. */
const NONE = 'none';

/** Adds the command. */
export function configureCommand(program: Command, { targetCommand, withTarget, say }: CommandParts): void {
  targetCommand(program, 'configure', 'change how much storage a virtual container host may take')
    .option('--force', "accept the target's certificate whatever it is")
    .option('--name <name>', 'its name')
    .option('--id <id>', 'or its id')
    .option('--storage-quota <size|none>', 'what images, containers and volumes may take together, such as 20GiB')
    .option('--storage-reserve <part|size|none>', 'room that images, volumes and copies leave free, such as 5% or 2GiB')
    .option('--image-quota <GiB|none>', 'what all images may take')
    .action(async (_options, command: Command) => {
      const options = command.opts<Options>();
      if (options.name === undefined && options.id === undefined) throw invalid('--name or --id must be specified');
      const change = changedStorage(options);
      await withTarget(command, [], async (client) => {
        const vch = await findVch(client, options);
        await reconfigureVch(client, vch, { ...vch.config, storage: change(vch.config.storage) });
        say('Completed successfully');
      });
    });
}

/** What the options make of the present settings; those that are not named stay. @throws invalid */
export function changedStorage(
  options: Pick<Options, 'storageQuota' | 'storageReserve' | 'imageQuota'>,
): (now: VchConfig['storage']) => NonNullable<VchConfig['storage']> {
  const { storageQuota, storageReserve, imageQuota } = options;
  if (storageQuota === undefined && storageReserve === undefined && imageQuota === undefined)
    throw invalid('nothing to change: --storage-quota, --storage-reserve or --image-quota must be specified');
  const parsed = {
    quota: read(storageQuota, parsedQuota),
    reserve: read(storageReserve, parsedReserve),
    imageQuotaGiB: read(imageQuota, (text) => {
      if (!/^[1-9]\d*$/.test(text)) throw invalid(`--image-quota takes a positive number, not '${text}'`);
      return Number(text);
    }),
  };
  return (now) => {
    const named = Object.entries(parsed).filter(([, value]) => value !== undefined);
    const next = Object.entries({ ...now, ...Object.fromEntries(named) }).filter(([, value]) => value !== null);
    return Object.fromEntries(next) as NonNullable<VchConfig['storage']>;
  };
}

/** Undefined: not named. Null: none. */
function read<T>(text: string | undefined, parse: (text: string) => T): T | null | undefined {
  if (text === undefined) return undefined;
  return text === NONE ? null : parse(text);
}
