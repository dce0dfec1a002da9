/** Checks the drivers, options and names of volumes. */
import { DEFAULT_STORE, type NewVolume } from '../../../port-layer/index.js';
import { invalid, notFound } from '../../../src/common/errors.js';
import { guestMount, MOUNT_OPTIONS } from './mount-options.js';

/** Two names for the same driver: Docker's name for its own, and what the engine's volumes really are. */
export const DEFAULT_DRIVER = 'local';
export const VOLUME_DRIVERS = [DEFAULT_DRIVER, 'vsphere'];
/** The label that Docker puts on volumes that were made without a name. */
export const ANONYMOUS_LABEL = 'com.docker.volume.anonymous';

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const CLONE_SOURCE = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*(@[a-zA-Z0-9][a-zA-Z0-9_.-]*)?$/;
/** The limit of a file name. */
const MAX_NAME = 255;
const UNITS: Record<string, number> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40, p: 2 ** 50 };
const MIB = 2 ** 20;

/**
 * Checks what is asked of a volume that is to be made.
 * @param stores labels of the volume stores that there are
 * @throws notFound (no such driver or store), invalid, unsupported in Docker's words, all beginning with `create <name>: `
 */
export function newVolume(
  name: string,
  driver: string,
  options: Record<string, string> | null,
  labels: Record<string, string> | null,
  stores: readonly string[] = [DEFAULT_STORE],
): NewVolume {
  const chosen = driver === '' ? DEFAULT_DRIVER : driver;
  if (!VOLUME_DRIVERS.includes(chosen))
    throw notFound(`create ${name}: error looking up volume plugin ${chosen}: plugin "${chosen}" not found`);
  checkName(name);
  const capacityBytes = capacity(name, chosen, options ?? {});
  const store = storeOf(name, options ?? {}, stores);
  const mount = chosen === DEFAULT_DRIVER ? guestMount(name, options ?? {}) : undefined;
  const size = capacityBytes === undefined ? {} : { capacityBytes };
  return { name, driver: chosen, options, labels, store, ...size, ...(mount === undefined ? {} : { mount }) };
}

/** What the option `Clone` names, `volume` or `volume@snapshot`; null without it. */
export function cloneSource(options: Record<string, string>): string | null {
  return Object.entries(options).find(([key]) => key.toLowerCase() === 'clone')?.[1] ?? null;
}

function checkName(name: string): void {
  // Docker counts bytes.
  if (Buffer.byteLength(name) === 1)
    throw invalid(`create ${name}: volume name is too short, names should be at least two alphanumeric characters`);
  if (!NAME.test(name))
    throw invalid(
      `create ${name}: "${name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
    );
  if (name.length > MAX_NAME) throw invalid(`create ${name.slice(0, 40)}…: volume name is too long`);
}

/** The label of the store asked for. */
function storeOf(name: string, options: Record<string, string>, stores: readonly string[]): string {
  let store = DEFAULT_STORE;
  for (const [option, value] of Object.entries(options)) if (option.toLowerCase() === 'volumestore') store = value;
  if (!stores.includes(store)) throw notFound(`create ${name}: No volume store named (${store}) exists`);
  return store;
}

/** The size asked for, in bytes; undefined: none. */
function capacity(name: string, driver: string, options: Record<string, string>): number | undefined {
  let bytes: number | undefined;
  for (const [given, value] of Object.entries(options)) {
    const option = given.toLowerCase();
    if (option === 'capacity' || option === 'size') {
      const size = parseSize(value);
      // For `capacity`, vSphere's own option, a plain number means MB.
      const wanted = option === 'capacity' && /^\d+$/.test(value.trim()) ? Number(value) * MIB : size;
      if (wanted === undefined) throw invalid(`create ${name}: invalid size: '${value}'`);
      if (wanted === 0 && option === 'capacity') throw invalid(`create ${name}: Invalid size: ${value}`);
      if (wanted > 0) bytes = wanted;
    } else if (option === 'clone') {
      if (!CLONE_SOURCE.test(value))
        throw invalid(`create ${name}: invalid Clone: '${value}': it is the name of a volume, or volume@snapshot`);
    } else if (option === 'volumestore') {
      // See storeOf.
    } else if (driver === DEFAULT_DRIVER && MOUNT_OPTIONS.includes(given)) {
      // See guestMount.
    } else if (driver === DEFAULT_DRIVER) throw invalid(`create ${name}: invalid option: "${given}"`);
    else throw invalid(`create ${name}: bad driver value - ${given} is not a supported option`);
  }
  return bytes;
}

/** Reads a size as Docker does: `10g`, `512MiB`, `1024`; units are powers of 1024. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?$/i.exec(text.trim());
  return match === null ? undefined : Math.floor(Number(match[1]) * UNITS[match[2]!.toLowerCase()]!);
}
