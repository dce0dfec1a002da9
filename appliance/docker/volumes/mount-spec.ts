/** Parses the mounts of a create request one by one: `-v` texts and `--mount` objects. Messages are in Docker's words. */
import { posix } from 'node:path';
import { invalid, unavailable, unsupported } from '../../../src/common/errors.js';
import type { MountRequest } from '../containers/config/mount-request.js';

/** A mount that a request asks for. */
export interface WantedMount {
  type: 'volume' | 'tmpfs';
  /** Name of the volume; '': an anonymous one. */
  source: string;
  target: string;
  /** The mode as it was given, for `inspect`. */
  mode: string;
  readOnly: boolean;
  /** Fill an empty volume with what the image has there. */
  copy: boolean;
  driver: string;
  options: Record<string, string> | null;
  labels: Record<string, string> | null;
  subpath: string;
  /** Options of a tmpfs, as for `--tmpfs`. */
  tmpfs: string;
  /** It comes from `Config.Volumes`: from `-v /directory`, or from the image. */
  configured: boolean;
}

/** The words that the mode of a `-v` may have, by kind. There may be one of each kind. */
const MODES = [
  ['rw', 'ro'],
  ['z', 'Z'],
  ['private', 'rprivate', 'slave', 'rslave', 'shared', 'rshared'],
  ['nocopy'],
  ['consistent', 'cached', 'delegated'],
];
const PROPAGATION = MODES[2]!;
const TMPFS_OPTIONS = ['exec', 'noexec'];
const NO_HOST_DIRECTORIES =
  'directories of the host cannot be mounted into a virtual machine: use a volume, or copy files with docker cp';

const plain = {
  mode: '',
  readOnly: false,
  copy: true,
  driver: '',
  options: null,
  labels: null,
  subpath: '',
  tmpfs: '',
  configured: false,
};

/** An entry of `Config.Volumes`. @throws invalid for what Docker would accept here and fail on when it starts the container */
export function parseConfigured(path: string, driver: string): WantedMount {
  const target = posix.normalize(path).replace(/(?<=.)\/$/, '');
  if (posix.resolve('/', target) === '/' || target.includes('\0'))
    throw invalid(`invalid volume specification: '${path}': invalid specification: destination can't be '/'`);
  return { ...plain, type: 'volume', source: '', target, driver, configured: true };
}

/** Whether these words may follow the second colon of a `-v`. */
function isMode(mode: string): boolean {
  if (mode === '') return true;
  const words = mode.split(',');
  return (
    words.every((word) => MODES.some((kind) => kind.includes(word))) &&
    MODES.every((kind) => words.filter((word) => kind.includes(word)).length <= 1)
  );
}

const isReadOnly = (mode: string): boolean => mode.split(',').includes('ro');

/** An entry of `HostConfig.Binds`. @param driver `HostConfig.VolumeDriver` @throws unavailable, in Docker's words; unsupported */
export function parseBind(text: string, driver: string): WantedMount {
  const wrong = (why = ''): Error => unavailable(`invalid volume specification: '${text}'${why}`);
  const [first = '', second, third, ...more] = text.split(':');
  if (first === '' || more.length > 0) throw wrong();
  if (second !== undefined && third === undefined && isMode(second)) throw wrong();
  const [source, target, mode] = second === undefined ? ['', first, ''] : [first, second, third ?? ''];
  if (!isMode(mode)) throw unavailable(`invalid mode: ${mode}`);
  const type = source.startsWith('/') ? 'bind' : 'volume';
  try {
    checkTarget(type, target);
    if (type === 'volume' && mode.split(',').some((word) => PROPAGATION.includes(word)))
      throw invalid('invalid mount config for type "volume": field BindOptions must not be specified');
  } catch (error) {
    throw wrong(`: ${(error as Error).message}`);
  }
  if (type === 'bind') throw unsupported(`HostConfig.Binds '${text}' is not implemented: ${NO_HOST_DIRECTORIES}`);
  const words = mode.split(',');
  return {
    ...plain,
    type,
    source,
    target: posix.normalize(target).replace(/(?<=.)\/$/, ''),
    mode,
    readOnly: isReadOnly(mode),
    copy: !words.includes('nocopy'),
    driver,
  };
}

/** @throws invalid in Docker's words */
function checkTarget(type: string, target: string): void {
  const wrong = (why: string): Error => invalid(`invalid mount config for type "${type}": ${why}`);
  if (target === '') throw wrong('field Target must not be empty');
  if (posix.normalize(target) === '/') throw wrong("invalid specification: destination can't be '/'");
  if (!target.startsWith('/')) throw wrong(`invalid mount path: '${target}' mount path must be absolute`);
  if (target.includes('\0')) throw wrong('the mount path has a zero byte');
}

const OPTIONS = { BindOptions: 'bind', VolumeOptions: 'volume', TmpfsOptions: 'tmpfs' } as const;

/** An entry of `HostConfig.Mounts`. @throws invalid in Docker's words; unsupported */
export function parseMount(mount: MountRequest): WantedMount {
  const type = mount.Type ?? '';
  const target = mount.Target ?? '';
  const source = mount.Source ?? '';
  const readOnly = mount.ReadOnly === true;
  const wrong = (why: string): Error => invalid(`invalid mount config for type "${type}": ${why}`);
  for (const [field, of] of Object.entries(OPTIONS) as [keyof typeof OPTIONS, string][])
    if (mount[field] && ['bind', 'volume', 'tmpfs'].includes(type) && type !== of)
      throw invalid(`${field} must not be specified on mount type "${type}"`);
  checkTarget(type, target);
  if (mount.ImageOptions && type !== 'image') throw wrong('field ImageOptions must not be specified');
  const common = { ...plain, target: posix.normalize(target).replace(/(?<=.)\/$/, ''), readOnly };
  switch (type) {
    case 'volume':
      return { ...common, type, source, ...volumeOptions(mount, source, wrong) };
    case 'tmpfs':
      if (source !== '') throw wrong('field Source must not be specified');
      return { ...common, type, source, copy: false, tmpfs: tmpfsWords(mount, readOnly, wrong) };
    case 'bind':
      if (source === '') throw wrong('field Source must not be empty');
      if (!source.startsWith('/')) throw wrong(`invalid mount path: '${source}' mount path must be absolute`);
      throw unsupported(`HostConfig.Mounts of type "bind" is not implemented: ${NO_HOST_DIRECTORIES}`);
    case 'image':
      throw unsupported('HostConfig.Mounts of type "image" is not implemented');
    default:
      throw wrong('mount type unknown');
  }
}

function volumeOptions(
  { VolumeOptions: given, ReadOnly: readOnly }: MountRequest,
  source: string,
  wrong: (why: string) => Error,
): Pick<WantedMount, 'copy' | 'driver' | 'options' | 'labels' | 'subpath'> {
  const subpath = given?.Subpath ?? '';
  if (subpath !== '') {
    if (source === '') throw wrong('must not set Subpath when using anonymous volumes');
    const clean = posix.normalize(subpath);
    if (clean.startsWith('/') || clean === '..' || clean.startsWith('../') || clean.includes('\0'))
      throw wrong('subpath must be a relative path within the volume');
  }
  if (readOnly === true && source === '') throw wrong('must not set ReadOnly mode when using anonymous volumes');
  return {
    copy: given?.NoCopy !== true,
    driver: given?.DriverConfig?.Name ?? '',
    options: given?.DriverConfig?.Options ?? null,
    labels: given?.Labels ?? null,
    subpath,
  };
}

/** @throws invalid in Docker's words */
function tmpfsWords({ TmpfsOptions: given }: MountRequest, readOnly: boolean, wrong: (why: string) => Error): string {
  const words = readOnly ? ['ro'] : [];
  const [mode, size] = [given?.Mode ?? 0, given?.SizeBytes ?? 0];
  if (mode) words.push(`mode=${mode.toString(8)}`);
  if (size) words.push(`size=${size}`);
  for (const option of given?.Options ?? []) {
    if (option.length < 1 || option.length > 2) throw wrong('invalid option array length');
    if (!TMPFS_OPTIONS.includes(option[0]!)) throw wrong(`invalid option: ${option[0]}`);
    words.push(option.join('='));
  }
  return words.join(',');
}

/** An entry of `HostConfig.VolumesFrom`. @throws invalid in Docker's words */
export function parseVolumesFrom(text: string): { reference: string; readOnly: boolean } {
  if (text === '') throw invalid('volumes-from specification cannot be an empty string');
  const [reference = '', ...rest] = text.split(':');
  const mode = rest.join(':');
  if (rest.length > 0) {
    const words = mode.split(',');
    if (!isMode(mode) || words.includes('nocopy') || words.some((word) => PROPAGATION.includes(word)))
      throw invalid(`invalid mode: ${mode}`);
  }
  if (reference === '') throw invalid('invalid name or ID supplied: ""');
  return { reference, readOnly: isReadOnly(mode) };
}
