/** Checks virtual machines: their definitions, what the inventory has of them, and what they refer to. */
import { existsSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';
import type { Check } from './check.js';
import { checkDisk } from './disk.js';
import type { KnownContainers } from './images.js';
import type { Layer } from './layers.js';
import { CONTAINER_KEY, type MachineFile, namesIn, textOf, VCH_KEY } from './store-map.js';

/** What a virtual container host has, for the containers that refer to it. */
export interface HostContents {
  layers: ReadonlyMap<string, Layer>;
  volumes: ReadonlySet<string>;
}

/** As `port-layer/exec/container-spec.ts` has it. */
const containerSpec = z.object({
  version: z.literal(1),
  id: z.string().regex(/^[0-9a-f]{64}$/),
  name: z.string(),
  layer: z.string().nullable(),
  volumes: z.array(z.object({ volume: z.string() })).optional(),
});
type ContainerSpec = z.infer<typeof containerSpec>;
const MOST_UNPACKED = 64 * 2 ** 20;

/** The container that a VM is; undefined: none; null: one that cannot be read. */
export function containerOf({ config }: MachineFile): ContainerSpec | null | undefined {
  const text = config?.extraConfig.get(CONTAINER_KEY);
  if (text === undefined) return undefined;
  try {
    const json = text.startsWith('gzip:')
      ? gunzipSync(Buffer.from(text.slice(5), 'base64'), { maxOutputLength: MOST_UNPACKED }).toString()
      : text;
    return containerSpec.parse(JSON.parse(json));
  } catch {
    return null;
  }
}

/** The containers of a virtual container host. */
export function containersOf(check: Check, vch: string): KnownContainers & { layers: Set<string> } {
  const ids = new Set<string>();
  const layers = new Set<string>();
  let complete = true;
  for (const machine of check.store.machines) {
    const spec = containerOf(machine);
    if (machine.config === null || spec === null) complete = false;
    if (machine.config?.extraConfig.get(VCH_KEY) !== vch || spec === undefined || spec === null) continue;
    ids.add(spec.id);
    if (spec.layer !== null) layers.add(spec.layer);
  }
  return { ids, layers, complete };
}

/** @param hosts by id */
export async function checkMachines(check: Check, hosts: ReadonlyMap<string, HostContents>): Promise<void> {
  const { machines } = check.store;
  let done = 0;
  for (const machine of machines) {
    check.progress({ what: 'machines', done: done++, all: machines.length });
    check.counts.machines++;
    await checkMachine(check, machine, hosts);
  }
  for (const { directory } of check.store.datastores)
    for (const name of namesIn(directory)) halfMade(check, join(directory, name));
}

async function checkMachine(
  check: Check,
  machine: MachineFile,
  hosts: ReadonlyMap<string, HostContents>,
): Promise<void> {
  const where = relative(check.store.paths.stateDir, machine.path);
  const label = machine.config?.name ?? basename(machine.directory);
  const damage = (code: string, what: string, means: string, todo: string): void =>
    check.find({ code, severity: 'damage', where, what, means, todo });
  const wrong = wrongDefinition(machine);
  if (wrong !== null) {
    damage(
      'machine.definition',
      wrong,
      `virtual machine ${label} cannot be started; its disk is not touched by this`,
      'copy what you need off its disk, remove the container, and make it anew',
    );
    return;
  }
  if (machine.record === null && check.store.inventory !== null) unregistered(check, machine, where);
  await checkDisks(check, machine, label);
  const spec = containerOf(machine);
  if (spec === undefined || spec === null) return;
  const host = hosts.get(machine.config?.extraConfig.get(VCH_KEY) ?? '');
  if (host === undefined) return;
  const means = `container ${spec.name} does not start`;
  if (spec.layer !== null && !host.layers.has(spec.layer))
    damage('container.layer', `its layer ${spec.layer} is missing, or cannot be read`, means, 'pull its image again');
  for (const { volume } of spec.volumes ?? [])
    if (!host.volumes.has(volume))
      damage(
        'container.volume',
        `its volume '${volume}' is missing, or cannot be read`,
        means,
        'restore the volume from a backup, or make the container anew without it',
      );
}

/** In the directory of a VM that hostd is making or destroying. */
const UNFINISHED_MARK = '.caisson-unfinished';

/** Keys that every definition has. */
const NEEDED = ['config.version', 'displayName', 'uuid.bios', 'caisson.createdAt'];

function wrongDefinition(machine: MachineFile): string | null {
  const text = textOf(machine.path) ?? '';
  const lacks = NEEDED.find((key) => !text.includes(`\n${key} = "`));
  if (machine.config === null || lacks !== undefined)
    return `the definition of the virtual machine cannot be read${lacks === undefined ? '' : `: it has no ${lacks}`}`;
  if (!text.endsWith('"\n')) return 'the definition of the virtual machine is cut off';
  const { extraConfig, hardware } = machine.config;
  if (containerOf(machine) === null) return 'what is recorded of its container cannot be read';
  const isContainer = /^[0-9a-f]{64}$/.test(basename(machine.directory)) && extraConfig.has(VCH_KEY);
  if (isContainer && !extraConfig.has(CONTAINER_KEY)) return 'what is recorded of its container is missing';
  if (isContainer && hardware.disks.length === 0) return 'it has no disk';
  return null;
}

/** A VM that hostd does not know: it was being made, or somebody took it out of the inventory. */
function unregistered(check: Check, machine: MachineFile, where: string): void {
  const unfinished = existsSync(join(machine.directory, UNFINISHED_MARK));
  check.leftover(
    {
      code: 'machine.unregistered',
      where,
      what: `virtual machine ${machine.config?.name} is not in the inventory`,
      means: 'it was being made or removed when the host ended, or was taken out of the inventory; it is in no list',
      todo: unfinished
        ? 'nothing: it is removed when the host starts, or now with --repair'
        : 'register it again (govc vm.register), or put it aside with --repair --move-aside',
      repair: { kind: unfinished ? 'remove' : 'aside', path: machine.directory },
    },
    'it is not in the inventory; it may just be being made or removed',
  );
}

async function checkDisks(check: Check, machine: MachineFile, label: string): Promise<void> {
  const { stateDir } = check.store.paths;
  for (const { file } of machine.config?.hardware.disks ?? []) {
    const path = localPath(check, file);
    if (path === null) continue;
    const where = relative(stateDir, path);
    // Volumes and layers are checked where they are.
    if (/\/VIC\/[^/]+\/(volumes|images)\//.test(path)) {
      if (!existsSync(path))
        check.find({
          code: 'machine.missing',
          severity: 'damage',
          where,
          what: `a disk of virtual machine ${label} is missing`,
          means: 'it does not start',
          todo: 'restore the volume or image from a backup, or make the container anew',
        });
      continue;
    }
    await checkDisk(check, path, {
      code: 'machine',
      what: `the disk of virtual machine ${label}`,
      means: 'it does not start, or sees damaged files',
      todo: "copy what can be read ('docker cp', 'docker export'), remove the container, and make it anew",
    });
  }
}

function localPath(check: Check, file: string): string | null {
  const match = /^\[([^\]]+)\] (.+)$/.exec(file);
  const datastore = check.store.datastores.find(({ name }) => name === match?.[1]);
  return match === null || datastore === undefined ? null : join(datastore.directory, match[2] as string);
}

/** The directory of a container's VM without a definition. */
function halfMade(check: Check, path: string): void {
  if (!/^[0-9a-f]{64}$/.test(basename(path))) return;
  const names = namesIn(path);
  if (names.some((name) => name.endsWith('.vmx'))) return;
  const where = relative(check.store.paths.stateDir, path);
  const disk = names.some((name) => name.endsWith('.vmdk')) && !names.includes(UNFINISHED_MARK);
  check.leftover(
    {
      code: 'machine.unfinished',
      where,
      what: 'it is the directory of a virtual machine without its definition',
      means: 'the virtual machine was being made or removed when the host ended; nothing uses what is left',
      todo: disk
        ? 'look whether its disk has something that you need, or put it aside with --repair --move-aside'
        : 'nothing, or remove it with --repair',
      repair: disk ? { kind: 'aside', path } : { kind: 'remove', path },
    },
    'a virtual machine may be being made or removed there',
  );
}
