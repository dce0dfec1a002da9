/** Options of `npm start` and `vic-machine create` about what containers get that ask for nothing, and what images and volumes may take. */
import type { Command } from 'commander';
import { parseQuota, parseReserve, type VchConfig } from '../../port-layer/config.js';
import { positiveInteger } from './positive-integer.js';

/** As commander returns them. */
export interface SizeOptions {
  containerCpus: number;
  containerMemory: number;
  storageReserve?: string;
  imageQuota?: number;
  storageQuota?: string;
}

/** Adds the options to a command. */
export function sizeOptions(command: Command): Command {
  return command
    .option(
      '--container-cpus <n>',
      'virtual CPUs of a container that asks for none',
      positiveInteger('--container-cpus'),
      2,
    )
    .option(
      '--container-memory <MiB>',
      'memory of a container that asks for none',
      positiveInteger('--container-memory'),
      2048,
    )
    .option(
      '--storage-reserve <part|size>',
      'room that images, volumes and copies leave free, such as 5% or 2GiB (default 5%, at most 2GiB)',
      parsedReserve,
    )
    .option('--image-quota <GiB>', 'what all images may take', positiveInteger('--image-quota'))
    .option(
      '--storage-quota <size>',
      'what images, containers and volumes may take together, such as 20GiB; a bare number is in GiB',
      parsedQuota,
    );
}

/** What `--storage-quota` means; a bare number is in GiB, as in VIC. @throws invalid */
export function parsedQuota(text: string): string {
  const size = /^\d+$/.test(text) ? `${text}GiB` : text;
  parseQuota(size);
  return size;
}

/** What `--storage-reserve` means. @throws invalid */
export function parsedReserve(text: string): string {
  parseReserve(text);
  return text;
}

/** The part of the configuration that these options determine. */
export function sizeSettings(options: SizeOptions, baseImageSizeGiB: number): Pick<VchConfig, 'container' | 'storage'> {
  const {
    containerCpus: cpus,
    containerMemory: memoryMiB,
    storageReserve: reserve,
    imageQuota,
    storageQuota: quota,
  } = options;
  return {
    container: { cpus, memoryMiB, baseImageSizeGiB },
    storage: {
      ...(reserve === undefined ? {} : { reserve }),
      ...(imageQuota === undefined ? {} : { imageQuotaGiB: imageQuota }),
      ...(quota === undefined ? {} : { quota }),
    },
  };
}
