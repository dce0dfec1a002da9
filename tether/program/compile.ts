/**
 * Compiles what a container VM is to do into a program that PID 1 carries out (`tether/guest/program.c`): u32 version, then steps, each of
 * u8 operation (`steps.ts`), u32 length and fields. Integers are little-endian; a string is u32 length and UTF-8; a list is u32 count and
 * its items.
 */
import { posix } from 'node:path';
import { invalid } from '../../src/common/errors.js';
import { FieldWriter } from '../protocol/fields.js';
import { cardFields, nameServerFields } from '../protocol/network-requests.js';
import { hiddenCardFields } from '../protocol/volume-requests.js';
import { capabilityBits, DEFAULT_CAPABILITIES } from './capabilities.js';
import type { NicSpec, ProcessSpec, ProgramSpec, VolumeSpec } from './spec.js';
import { NO_NEW_PRIVILEGES, PROGRAM_VERSION, ProcessFlag, Step, USUAL_UMASK, VolumeFlag } from './steps.js';

/** Linux resource numbers (asm-generic/resource.h) by the names that `ulimit` options use. */
const RESOURCES: Record<string, number> = {
  cpu: 0,
  fsize: 1,
  data: 2,
  stack: 3,
  core: 4,
  rss: 5,
  nproc: 6,
  nofile: 7,
  memlock: 8,
  as: 9,
  locks: 10,
  sigpending: 11,
  msgqueue: 12,
  nice: 13,
  rtprio: 14,
  rttime: 15,
};

/** Twice what the kernel accepts with its default stack. Up to here, the guest shows how the kernel refuses a command that is too long. */
const MAX_PROCESS_BYTES = 4 * 1024 * 1024;

/**
 * A process as bytes: part of a program, and the payload of an exec request.
 * @param options `identifyOnly`: the guest looks up its user and groups, and runs nothing
 * @throws invalid
 */
export function encodeProcess(process: ProcessSpec, options: { identifyOnly?: boolean } = {}): Buffer {
  if (process.args.length === 0) throw invalid('a process needs a command');
  const bytes = new FieldWriter()
    .u8(
      (process.tty ? ProcessFlag.tty : 0) |
        (process.openStdin ? ProcessFlag.openStdin : 0) |
        (options.identifyOnly === true ? ProcessFlag.identifyOnly : 0) |
        (process.args.some(hasZero) ? ProcessFlag.unfitArgs : 0),
    )
    .string(process.user)
    .string(process.cwd)
    .u32(process.terminalSize?.rows ?? 0)
    .u32(process.terminalSize?.cols ?? 0)
    .u64(capabilityBits(process.capabilities ?? DEFAULT_CAPABILITIES))
    .strings(process.args)
    .strings(process.env)
    .strings(process.additionalGroups)
    .u32(process.rlimits.length);
  for (const { name, soft, hard } of process.rlimits) {
    const resource = RESOURCES[name];
    if (resource === undefined) throw invalid(`unknown ulimit type: ${name}`);
    bytes.u32(resource).u64(limit(soft)).u64(limit(hard));
  }
  // The tether of an older boot image ignores what follows.
  bytes.u8(process.noNewPrivileges === true ? NO_NEW_PRIVILEGES : 0).u32((process.oomScoreAdj ?? 0) >>> 0);
  bytes.u32((process.umask ?? USUAL_UMASK) & 0o777);
  const result = bytes.bytes();
  if (result.length > MAX_PROCESS_BYTES) throw invalid('argument list too long');
  return result;
}

/** The guest's strings end at a zero byte, and the kernel accepts no such argument either. */
function hasZero(text: string): boolean {
  return text.includes('\0');
}

/** -1 becomes RLIM_INFINITY. */
function limit(value: number): bigint {
  return BigInt.asUintN(64, BigInt(value));
}

/** The program of a container VM. @throws invalid */
export function compileProgram(spec: ProgramSpec): Buffer {
  const program = new FieldWriter().u32(PROGRAM_VERSION);
  const step = (operation: number, fields: FieldWriter): void => {
    const bytes = fields.bytes();
    program.u8(operation).u32(bytes.length).raw(bytes);
  };
  const fields = (): FieldWriter => new FieldWriter();
  step(Step.gate, fields().u32(spec.gateTimeoutMs));
  step(Step.stop, fields().u32(spec.stopSignal).u32(spec.stopTimeoutSeconds));
  step(Step.hostname, fields().string(spec.hostname).string(spec.domainname));
  for (const nic of spec.nics) step(...nicStep(nic));
  if (spec.nameServers?.length) step(Step.nameServers, fields().raw(nameServerFields(spec.nameServers)));
  for (const [index, { path, mode, content }] of spec.files.entries())
    step(
      Step.file,
      fields()
        .string(path)
        .u32(mode)
        .string(content)
        .string(fileSource(spec.containerId, path, index)),
    );
  for (const [key, value] of Object.entries(spec.sysctls)) step(Step.sysctl, fields().string(key).string(value));
  step(Step.shm, fields().u64(BigInt(spec.shmSize)));
  step(
    Step.root,
    fields()
      .u32(spec.rootDisk.bus)
      .u32(spec.rootDisk.unit)
      .u8(spec.readOnlyRoot ? 1 : 0),
  );
  if (spec.initLayer !== undefined) step(Step.initLayer, fields().u64(BigInt(spec.initLayer)));
  if (spec.rootSize !== undefined) step(Step.rootSize, fields().u64(BigInt(spec.rootSize)));
  if (spec.privileged === true) step(Step.privileged, fields());
  if (spec.writableCgroups === true) step(Step.writableCgroups, fields());
  if (spec.userNamespaces === true) step(Step.userNamespaces, fields());
  if (spec.init === true) step(Step.init, fields());
  if (spec.keepLog === false) step(Step.noLog, fields());
  for (const { operation, bytes } of filesystems(spec)) step(operation, bytes);
  for (const path of spec.maskedPaths ?? []) step(Step.mask, fields().string(path));
  for (const path of spec.readOnlyPaths ?? []) step(Step.readOnly, fields().string(path));
  for (const [file, value] of Object.entries(spec.limits ?? {})) step(Step.limit, fields().string(file).string(value));
  step(Step.process, fields().raw(encodeProcess(spec.process)));
  return program.bytes();
}

/** A card with IPv4 alone needs no newer boot image than before. */
function nicStep(nic: NicSpec): [operation: number, fields: FieldWriter] {
  const { index, name, mac, mtu = 0, gateway = '' } = nic;
  const [address = '', prefix = '32'] = nic.address.split('/');
  const plain =
    nic.address !== '' && nic.address6 === undefined && nic.sysctls === undefined && nic.filter === undefined;
  const fields = new FieldWriter().u32(index);
  if (!plain) return [Step.card, cardFields(fields, nic)];
  return [Step.nic, fields.string(name).string(mac).string(address).u32(Number(prefix)).string(gateway).u32(mtu)];
}

/** As in Docker, programs find their container's id in `/proc/self/mountinfo`, in the path that these three are bound from. */
const TELLING = ['/etc/hostname', '/etc/hosts', '/etc/resolv.conf'];

function fileSource(containerId: string, path: string, index: number): string {
  return TELLING.includes(path) ? `var/lib/docker/containers/${containerId}/${posix.basename(path)}` : `${index}`;
}

function volumeStep({ from, path, readOnly, subpath, fill = false }: VolumeSpec): {
  operation: number;
  bytes: FieldWriter;
} {
  const own = readOnly ? VolumeFlag.mountReadOnly : 0;
  if ('filesystem' in from) {
    const { number, volume, type, device, flags, data } = from.filesystem;
    const bytes = new FieldWriter()
      .u32(number)
      .u8(own | (fill ? VolumeFlag.fill : 0))
      .string(path)
      .string(subpath);
    bytes.string(volume).string(type).string(device).u64(BigInt(flags)).string(data);
    return { operation: Step.guestMount, bytes };
  }
  if ('served' in from) {
    const { number, volume, card, server } = from.served;
    const bytes = new FieldWriter().u32(number).u8(own).string(path).string(subpath).string(volume).string(server);
    return { operation: Step.servedVolume, bytes: hiddenCardFields(bytes, card) };
  }
  const { disk, diskReadOnly } = from;
  const bytes = new FieldWriter().u32(disk.bus).u32(disk.unit);
  bytes
    .u8(own | (diskReadOnly ? VolumeFlag.diskReadOnly : 0))
    .string(path)
    .string(subpath);
  return { operation: Step.volume, bytes };
}

/** The mounts in the root, outer paths first. */
function filesystems({ tmpfs = [], volumes = [] }: ProgramSpec): { operation: number; bytes: FieldWriter }[] {
  const all = [
    ...tmpfs.map(({ path, flags, options }) => ({
      path,
      operation: Step.tmpfs,
      bytes: new FieldWriter().string(path).u64(BigInt(flags)).string(options),
    })),
    ...volumes.map((volume) => ({ path: volume.path, ...volumeStep(volume) })),
  ];
  const depth = ({ path }: { path: string }): number => path.split('/').length;
  return all.sort((a, b) => depth(a) - depth(b));
}
