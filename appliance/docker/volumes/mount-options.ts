/** Options of Docker's `local` driver that mount something in place of a volume's own disk: `type`, `device` and `o`. */
import type { GuestMount } from '../../../port-layer/index.js';
import { invalid, unsupported } from '../../../src/common/errors.js';
import { FLAGS, PROPAGATION } from '../values/mount-flags.js';

/** Each needs the others: the driver's own list. */
const NEEDED: Record<string, readonly string[]> = { device: ['type'], type: ['device'], o: ['device', 'type'] };
const TYPES = ['tmpfs', 'nfs', 'nfs4'] as const;
/** What fits into a page with the kernel's own words. */
const MAX_TEXT = 1000;
const NO_DIRECTORY =
  'a directory of the host cannot be mounted into a virtual machine: use a volume of its own, or type nfs or tmpfs';

/** Names of the options. */
export const MOUNT_OPTIONS = Object.keys(NEEDED);

/**
 * What is to be mounted; undefined: the options ask for nothing but a disk.
 * @throws invalid in Docker's words; unsupported for what Docker's engine could mount
 */
export function guestMount(name: string, options: Record<string, string>): GuestMount | undefined {
  if (!MOUNT_OPTIONS.some((option) => Object.hasOwn(options, option))) return undefined;
  for (const option of MOUNT_OPTIONS)
    if (Object.hasOwn(options, option))
      for (const needed of NEEDED[option]!)
        if (!Object.hasOwn(options, needed)) throw invalid(`create ${name}: missing required option: "${needed}"`);
  const { type = '', device = '', o = '' } = options;
  const words = o.split(',').filter((word) => word !== '' && word !== 'defaults');
  if (type === 'none' || type === 'bind' || words.includes('bind') || words.includes('rbind'))
    throw unsupported(`create ${name}: option "o=bind" is not implemented: ${NO_DIRECTORY}`);
  const known = TYPES.find((one) => one === type);
  if (known === undefined)
    throw unsupported(`create ${name}: type "${type}" is not implemented: it can be ${TYPES.join(', ')}`);
  if (Object.keys(options).some((option) => ['size', 'capacity'].includes(option.toLowerCase())))
    throw invalid(`create ${name}: quota size requested but no quota support`);
  if (device.length > MAX_TEXT || o.length > MAX_TEXT || `${device}${o}`.includes('\0'))
    throw invalid(`create ${name}: the options "device" and "o" are limited to ${MAX_TEXT} characters`);
  if (words.includes('remount')) throw invalid(`create ${name}: invalid option: "remount"`);
  return { type: known, device, ...flagsAndData(words) };
}

/** As Docker splits the words of `o`: flags of mount(2), and the rest for the filesystem. How mounts propagate means nothing here. */
function flagsAndData(words: string[]): Pick<GuestMount, 'flags' | 'data'> {
  let flags = 0;
  const data: string[] = [];
  for (const word of words) {
    const known = Object.hasOwn(FLAGS, word) ? FLAGS[word] : undefined;
    if (known !== undefined) flags = known.clear === true ? flags & ~known.flag : flags | known.flag;
    else if (!Object.hasOwn(PROPAGATION, word)) data.push(word);
  }
  return { flags, data: data.join(',') };
}
