/**
 * The cage in which each QEMU runs: a user and group of its own, without capabilities; its own mount, PID, IPC, UTS and control group
 * namespaces; an empty root; a list of allowed system calls; limits; and no descriptors but those it was given. A small C program builds it
 * (`launcher/`), since Node can do none of that.
 *
 * What the machine does not allow is left out, and reported once in the log and in `docker info`. User, capabilities, descriptors and
 * limits always apply.
 */
import { execFile, spawn } from 'node:child_process';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { internal, messageOf, timeout } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { APPEND_ANEW } from '../../common/log-bound.js';
import { launcherPath } from '../../common/paths.js';
import { identify, type ProcessIdentity } from '../../common/process-id.js';
import { within } from '../../common/within.js';
import { freeUsers, inOrder, type UserRange } from './cage-users.js';
import { ControlGroups } from './control-groups.js';

const log = logger('cage');
/** The launcher answers within 0.01 s on an idle machine. */
const ANSWER_MS = 30_000;
/** The socket to the launcher; see `launcher/main.c`. */
const CONTROL_FD = 3;
/** The first inherited descriptor. The numbers before it are for what the launcher makes: sockets that QEMU listens on, and taps. */
export const FIRST_FD = 20;
/** QEMU's memory on top of the VM's, in MiB: 60 to 90 were measured, including the code that the emulator generates. */
const OVERHEAD_MIB = 256;
/** Threads of QEMU: up to 64 for disks, one for each virtual processor, and a few more. */
const THREADS = 96;
/** OOM scores: spare VMs are killed first, then VMs, and hostd and endpoints only when nothing else is left. */
export const VM_OOM_SCORE = 300;
const SPARE_OOM_SCORE = 500;

/** What a program is started with. */
export interface CageContents {
  /** Unique among those that run on this host. */
  name: string;
  cpus: number;
  memoryMiB: number;
  /** Unix sockets it listens on, which only root may use, with their descriptors. */
  listeners: { fd: number; path: string }[];
  /** Existing taps, with their descriptors. */
  taps: { fd: number; name: string }[];
  /** Files that it reads while it starts. */
  files: string[];
  /** Directories of sockets that it connects to by path. */
  connects?: string[];
  /** Numbered from {@link FIRST_FD} on. */
  inherited: readonly FileHandle[];
  /** Its memory is mapped from a snapshot: see `launcher/filter.c`. */
  sharesMemory?: boolean;
  /** A library to load into it. */
  preload?: string;
  /** It waits at the lowest priority until it is used. */
  spare?: boolean;
  kvm?: boolean;
}

/** A started program. */
export interface Caged extends ProcessIdentity {
  /** The id of its user and group. No other caged program on this machine has it while this one runs. */
  uid: number;
  /** Takes its root away; call it once the program has loaded what it needs. @throws internal, timeout; end the program then */
  enclose(): Promise<void>;
}

/** Namespaces that some machines do not allow. */
const NAMESPACES = ['mount', 'pid', 'ipc', 'uts', 'cgroup'] as const;
type Namespace = (typeof NAMESPACES)[number];
const NAMES: Record<Namespace, string> = {
  mount: 'a mount',
  pid: 'a PID',
  ipc: 'an IPC',
  uts: 'a UTS',
  cgroup: 'a control group',
};

/** What a host's cages are made of. */
export interface CageParts {
  present: string[];
  /** What this machine does not allow, with the reasons. */
  missing: string[];
}

/** Makes the cages of one host. */
export class Cages {
  private constructor(
    private readonly launcher: string,
    private readonly stage: string,
    private readonly namespaces: Namespace[],
    private readonly users: UserRange[],
    readonly groups: ControlGroups,
    readonly parts: CageParts,
  ) {}

  /**
   * Finds out what this machine allows.
   * @param runDir gets the directory on which roots are built
   * @param instance names the control groups
   * @throws internal if the launcher cannot run
   */
  static async open(runDir: string, instance: string, launcher = launcherPath()): Promise<Cages> {
    const stage = join(runDir, 'root');
    await mkdir(stage, { recursive: true, mode: 0o700 });
    const answers = await probe(launcher, stage);
    const groups = await ControlGroups.open(`caisson-${instance}`);
    const why = (part: string): string | null => answers.get(part) ?? null;
    const namespaces = NAMESPACES.filter((part) => why(part) === null);
    const parts = {
      present: [
        'user',
        ...(why('seccomp') === null ? ['seccomp'] : []),
        'rlimits',
        ...namespaces,
        ...(namespaces.includes('mount') ? ['empty-root'] : []),
        ...groups.limits,
      ],
      missing: [
        ...NAMESPACES.flatMap((part) => (why(part) === null ? [] : [`${NAMES[part]} namespace (${why(part)})`])),
        ...(why('seccomp') === null ? [] : [`a list of system calls (${why('seccomp')})`]),
        ...(why('seccomp') === null && why('told') !== null ? [`a log of refused system calls (${why('told')})`] : []),
        ...groups.missing,
      ],
    };
    if (parts.missing.length > 0)
      log.warn({ ...parts }, 'this machine does not allow all of the cage that QEMU runs in');
    return new Cages(launcher, stage, namespaces, freeUsers(), groups, parts);
  }

  /** Whether this machine supports system call filters, including QEMU's own. */
  get filters(): boolean {
    return this.parts.present.includes('seccomp');
  }

  /**
   * Starts a program in a cage.
   * @param netns path of the network namespace to enter, or null to stay
   * @param logFile for what it prints
   * @throws internal saying what could not be made
   */
  async start(program: string[], netns: string | null, logFile: string, contents: CageContents): Promise<Caged> {
    const { name, cpus, memoryMiB, inherited, spare = false } = contents;
    const processes = THREADS + cpus;
    const groups = await this.groups.make(name, { memoryMiB: memoryMiB + OVERHEAD_MIB, processes });
    const options = [
      ...(this.namespaces.length > 0 ? [`namespaces=${this.namespaces.join(',')}`] : []),
      ...(netns === null ? [] : [`netns=${netns}`]),
      `stage=${this.stage}`,
      ...inOrder(this.users, spare).map(([first, last]) => `users=${first}-${last}`),
      ...(this.filters ? [] : ['unfiltered=1']),
      `processes=${processes}`,
      `oom=${spare ? SPARE_OOM_SCORE : VM_OOM_SCORE}`,
      ...(spare ? ['nice=19'] : []),
      ...(contents.kvm ? ['kvm=1'] : []),
      ...(contents.sharesMemory ? ['pretend-punch=1'] : []),
      ...(contents.preload === undefined ? [] : [`preload=${contents.preload}`]),
      ...groups.map((group) => `group=${group}`),
      ...contents.listeners.map(({ fd, path }) => `listen=${fd}:${path}`),
      ...contents.taps.map(({ fd, name: tap }) => `tap=${fd}:${tap}`),
      ...contents.files.map((file) => `bind=${file}`),
      ...(contents.connects ?? []).map((directory) => `keep=${directory}`),
      `inherited=${inherited.length}`,
    ];
    try {
      return await this.launch([...options, '--', ...program], logFile, inherited);
    } catch (error) {
      await this.groups.remove(name);
      throw error;
    }
  }

  private async launch(args: string[], logFile: string, inherited: readonly FileHandle[]): Promise<Caged> {
    const output = await open(logFile, APPEND_ANEW, 0o640);
    try {
      const between = Array<'ignore'>(FIRST_FD - CONTROL_FD - 1).fill('ignore');
      const child = spawn(this.launcher, args, {
        detached: true,
        stdio: ['ignore', output.fd, output.fd, 'pipe', ...between, ...inherited.map(({ fd }) => fd)],
        cwd: '/',
      });
      const control = child.stdio[CONTROL_FD] as Socket;
      const lines = new ControlLines(control);
      child.once('error', (error) => lines.fail(internal(`cannot run ${this.launcher}: ${error.message}`, error)));
      child.unref();
      const [pid, uid] = (await lines.next('started')).split(' ').map(Number);
      const identity = identify(pid!);
      if (identity === null) throw internal('QEMU ended at once');
      return {
        ...identity,
        uid: uid!,
        enclose: async () => {
          control.write('e');
          await lines.next('enclosed');
          control.destroy();
        },
      };
    } finally {
      await output.close();
    }
  }
}

/** Reads what the launcher says: one line per step. */
class ControlLines {
  private text = '';
  private failure: Error | null = null;
  private wake = (): void => undefined;

  constructor(private readonly socket: Socket) {
    socket.setEncoding('utf8');
    socket.on('data', (data: string) => {
      this.text += data;
      this.wake();
    });
    socket.on('error', () => undefined);
    // The socket must not keep this process alive; waiting for an answer does.
    socket.unref();
    socket.on('close', () => this.fail(internal('QEMU’s launcher has ended')));
  }

  fail(error: Error): void {
    this.failure ??= error;
    this.wake();
  }

  /** The rest of the next line, which must begin with `word`. @throws internal, timeout */
  async next(word: string): Promise<string> {
    this.socket.ref();
    const line = new Promise<string>((resolve, reject) => {
      this.wake = () => {
        const [first, ...rest] = this.text.split('\n');
        if (rest.length > 0) {
          this.text = rest.join('\n');
          if (first === word || first!.startsWith(`${word} `)) resolve(first!.slice(word.length + 1));
          else reject(internal(first!.replace(/^failed /, '')));
        } else if (this.failure !== null) reject(this.failure);
      };
    });
    this.wake();
    try {
      return await within(line, ANSWER_MS, () => {
        throw timeout('QEMU’s launcher does not answer');
      });
    } finally {
      this.wake = () => undefined;
      this.socket.unref();
    }
  }
}

/** For each part of a cage: null if it works, otherwise why not. */
async function probe(launcher: string, stage: string): Promise<Map<string, string | null>> {
  const { stdout } = await promisify(execFile)(launcher, ['probe', stage], { timeout: ANSWER_MS }).catch(
    (error: unknown) => {
      throw internal(`QEMU’s launcher does not run (npm start makes it): ${messageOf(error)}`, error);
    },
  );
  return new Map([...stdout.matchAll(/^(\w+) (?:yes|no (.*))$/gm)].map(([, part = '', why]) => [part, why ?? null]));
}
