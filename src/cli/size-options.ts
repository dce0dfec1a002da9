/** Options of `npm start` and `vic-machine create` about what containers get that ask for nothing, and what images and volumes may take. */
import type { Command } from 'commander';
import { parseReserve, type VchConfig } from '../../port-layer/config.js';
import { positiveInteger } from './positive-integer.js';

/** As commander returns them. */
export interface SizeOptions {
  containerCpus: number;
  containerMemory: number;
  storageReserve?: string;
  imageQuota?: number;
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
      storageReserve,
    )
    .option('--image-quota <GiB>', 'what all images may take', positiveInteger('--image-quota'));
}

/** @throws invalid */
function storageReserve(text: string): string {
  parseReserve(text);
  return text;
}

/** The part of the configuration that these options determine. */
export function sizeSettings(options: SizeOptions, baseImageSizeGiB: number): Pick<VchConfig, 'container' | 'storage'> {
  const { containerCpus: cpus, containerMemory: memoryMiB, storageReserve: reserve, imageQuota } = options;
  return {
    container: { cpus, memoryMiB, baseImageSizeGiB },
    storage: {
      ...(reserve === undefined ? {} : { reserve }),
      ...(imageQuota === undefined ? {} : { imageQuotaGiB: imageQuota }),
    },
  };
}
