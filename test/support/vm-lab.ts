/**
 * VMs without the layers above: a runtime on its own state directory, disks made from busybox, and the output of a VM's
 * first process. Can run beside an engine; `close` removes everything.
 */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { type InstancePaths, instancePaths } from '../../src/common/paths.js';
import { applyLayer, createChild } from '../../src/disk/index.js';
import type { RunningVm, VmDefinition, VmExit, VmHooks } from '../../src/hostd/runtime.js';
import { createRuntime, type HostRuntime } from '../../src/hostd/runtime-factory.js';
import { compileProgram } from '../../tether/program/compile.js';
import type { NicSpec, ProgramSpec } from '../../tether/program/spec.js';
import { LogParser } from '../../tether/protocol/log.js';
import { expectNoneRefused, refusedSoFar } from './refused-calls.js';
import { TarBuilder } from './registry/tar-builder.js';
import { processSpec, programSpec } from './specs.js';

export const PORT_GROUP = 'lab bridge';

/** The commands that the scripts of VMs use. */
const APPLETS = [
  'sh',
  'cat',
  'echo',
  'sleep',
  'dd',
  'rm',
  'mkdir',
  'ping',
  'ip',
  'wc',
  'grep',
  'printf',
  'od',
  'hostname',
  'date',
  'sync',
  'httpd',
  'nc',
  'nslookup',
  'wget',
  'ls',
  'timeout',
  'kill',
  'tail',
];

/** A layer with a shell and its commands. */
export async function busyboxTar(): Promise<Buffer> {
  const tar = new TarBuilder().directory('bin').file('bin/busybox', await readFile('/bin/busybox'), { mode: 0o755 });
  for (const applet of APPLETS) tar.link(`bin/${applet}`, 'bin/busybox', 0o755);
  return tar.build();
}

/** Options of {@link VmLab.define}. */
export interface LabVm {
  /** Run by the VM's first process; without it, the VM has no program. */
  script?: string;
  /** Address on {@link PORT_GROUP}, CIDR; without it, there is no card. */
  address?: string;
  /** More of that card. */
  nic?: Partial<NicSpec>;
  /** More of its program. */
  program?: Partial<ProgramSpec>;
  memoryMiB?: number;
  cpus?: number;
}

/** A VM's definition, its reports, and how it ended. */
export class LabGuest implements VmHooks {
  readonly values = new Map<string, string>();
  readonly exits: VmExit[] = [];

  constructor(readonly definition: VmDefinition) {}

  infoGet(key: string): string | undefined {
    return key.startsWith('guestinfo.') ? this.definition.extraConfig.get(key) : undefined;
  }

  infoSet(key: string, value: string): void {
    if (!key.startsWith('guestinfo.caisson.run.')) throw new Error('refused');
    this.values.set(key, value);
  }

  /** How often it lacked room for its disk. */
  stalls = 0;

  stalled(): void {
    this.stalls++;
  }

  exited(exit: VmExit): void {
    this.exits.push(exit);
  }

  get status(): string {
    return this.values.get('guestinfo.caisson.run.status') ?? '';
  }

  /** How it ended. */
  async exit(): Promise<VmExit> {
    await until(() => this.exits.length > 0, `${this.definition.name} ends`);
    return this.exits[0]!;
  }

  /** Everything that its processes have printed so far. */
  async output(): Promise<string> {
    return outputIn(this.definition.directory);
  }

  /** Resolves when its output matches. */
  async printed(wanted: RegExp): Promise<string> {
    let output = '';
    await until(
      async () => {
        output = await this.output();
        return wanted.test(output);
      },
      `${this.definition.name} prints ${wanted}`,
      () => `it printed: ${output}`,
    );
    return output;
  }
}

/** What the processes of the VM in a directory have printed so far. */
export async function outputIn(directory: string): Promise<string> {
  const bytes = await readFile(join(directory, 'output.log')).catch(() => Buffer.alloc(0));
  return new LogParser()
    .push(bytes)
    .map(({ data }) => data.toString())
    .join('');
}

/** Waits for a condition. @throws Error naming `what` after 100 s */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  detail = (): string => '',
): Promise<void> {
  for (const deadline = Date.now() + 100_000; !(await condition()); await sleep(20)) {
    if (Date.now() > deadline) throw new Error(`it took too long until ${what}. ${detail()}`);
  }
}

const hexByte = (value: number): string => value.toString(16).padStart(2, '0');

/** The runtime and the VMs created on it. */
export class VmLab {
  private count = 0;
  private readonly running = new Set<RunningVm>();

  private constructor(
    readonly paths: InstancePaths,
    public runtime: HostRuntime,
    private readonly baseDisk: string,
    private readonly snapshotDirectory: string | undefined,
    private readonly warmPool: number,
  ) {}

  static async open(snapshotDirectory?: string, warmPool = 0): Promise<VmLab> {
    const paths = instancePaths(await mkdtemp(join(tmpdir(), 'caisson-lab-')));
    const baseDisk = join(paths.datastoreDir, 'base', 'base.vmdk');
    await mkdir(join(baseDisk, '..'), { recursive: true });
    await applyLayer({
      parent: null,
      tar: Readable.from([await busyboxTar()], { objectMode: false }),
      outPath: baseDisk,
      parentHint: null,
      capacity: 2 ** 30,
      seed: 'lab',
    });
    const runtime = await createRuntime(paths, snapshotDirectory, warmPool);
    await runtime.virtualSwitch.addPortGroup(PORT_GROUP);
    return new VmLab(paths, runtime, baseDisk, snapshotDirectory, warmPool);
  }

  /** A VM with its own disk on top of the shared one. */
  async define(options: LabVm): Promise<LabGuest> {
    const number = ++this.count;
    const name = `lab${number}`;
    const directory = join(this.paths.datastoreDir, name);
    await mkdir(directory);
    const disk = join(directory, `${name}.vmdk`);
    await createChild(disk, this.baseDisk);
    const mac = `00:0c:29:00:${hexByte(number >> 8)}:${hexByte(number & 255)}`;
    const nics = options.address === undefined ? [] : [{ index: 0, mac, portGroup: PORT_GROUP, connected: true }];
    const extraConfig = new Map<string, string>();
    if (options.script !== undefined) {
      const program = compileProgram(
        programSpec(processSpec(['/bin/sh', '-c', options.script]), {
          containerId: name,
          hostname: name,
          nics: nics.map(({ index }) => ({ index, name: 'eth0', mac, address: options.address!, ...options.nic })),
          shmSize: 2 ** 30,
          ...options.program,
        }),
      );
      extraConfig.set('guestinfo.caisson.program', program.toString('base64'));
    }
    return new LabGuest({
      moid: `vm-${number}`,
      uuid: `00000000-0000-4000-8000-${String(10 + number).padStart(12, '0')}`,
      name,
      directory,
      cpus: options.cpus ?? 1,
      memoryMiB: options.memoryMiB ?? 256,
      disks: [{ bus: 0, unit: 0, path: disk, readOnly: false }],
      nics,
      serials: [
        // Nobody listens there, which must not keep a VM from running.
        { index: 0, backing: { kind: 'unixClient', path: join(this.paths.runDir, `${name}.sock`) } },
        { index: 1, backing: { kind: 'file', path: join(directory, 'output.log') } },
      ],
      extraConfig,
    });
  }

  /** Powers a VM on; it is powered off by {@link close} at the latest. */
  async powerOn(guest: LabGuest): Promise<RunningVm> {
    const vm = await this.runtime.powerOn(guest.definition, guest);
    this.running.add(vm);
    return vm;
  }

  /** The effect of a restart of hostd on VMs: the old runtime lets go of one, a new one finds it. */
  async adoptAfterRestart(vm: RunningVm, guest: LabGuest): Promise<RunningVm | null> {
    vm.release();
    this.running.delete(vm);
    await this.restart();
    const found = await this.runtime.adopt(guest.definition, guest);
    if (found !== null) this.running.add(found);
    return found;
  }

  /** A new runtime, as after hostd's restart. */
  async restart(): Promise<void> {
    await this.runtime.close();
    this.runtime = await createRuntime(this.paths, this.snapshotDirectory, this.warmPool);
    await this.runtime.virtualSwitch.addPortGroup(PORT_GROUP);
  }

  async close(): Promise<void> {
    await this.runtime.close();
    await Promise.all([...this.running].map((vm) => vm.powerOff()));
    await this.runtime.virtualSwitch.remove();
    await this.runtime.cages.groups.close();
    const refused = await refusedSoFar(this.paths.stateDir);
    await rm(this.paths.stateDir, { recursive: true, force: true });
    await rm(this.paths.runDir, { recursive: true, force: true });
    expectNoneRefused(refused);
  }
}
