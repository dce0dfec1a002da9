/**
 * Decides which accelerator is used, and says why. `/dev/kvm` may exist and open, and guests may still hang, so one is booted to find out.
 * A definite answer (it booted; QEMU or the guest gave up) is remembered for this kernel and QEMU. A time-out is not an answer, since the
 * machine may have been busy: the next start tries again with more time.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { invalid, messageOf, unavailable } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { BootImage } from '../../common/paths.js';
import { ended, isRunning, signal } from '../../common/process-id.js';
import { writeWhole } from '../../common/write-whole.js';
import type { Caged, Cages } from './cage.js';
import { qemuLauncher } from './caged-qemu.js';
import type { QemuCapabilities } from './capabilities.js';
import { type Acceleration, qemuArguments } from './command-line.js';
import { complaints, printedIn } from './qemu-words.js';

const log = logger('qemu');
/** How long a guest may take to boot, in ms, at the first try, the second, and so on; the last value holds for all later tries. */
const PROBE_MS = [6000, 20_000, 60_000];
const KILL_MS = 5000;
/** Longest wait when KVM was asked for explicitly. */
const WANTED_MS = 120_000;
/** What QEMU prints when it keeps running although its guest does not. */
const GAVE_UP = /.*(KVM internal error|kvm run failed).*/i;

/** What a user may ask for. */
export type WantedAcceleration = Acceleration | 'auto';

/** The accelerator in use, with the reason as text for people. */
export interface AccelerationChoice {
  acceleration: Acceleration;
  why: string;
}

/** How a try ended. */
export type ProbeResult = { outcome: 'boots' } | { outcome: 'fails'; why: string } | { outcome: 'timeout' };

const memoryFile = z.object({
  key: z.string(),
  /** The definite answer; null until there is one. */
  answer: z.object({ acceleration: z.enum(['kvm', 'tcg']), why: z.string() }).nullable(),
  /** Tries that ran out of time. */
  timeouts: z.number().int().nonnegative(),
});

/** Reads `--accel`. @throws invalid */
export function wantedAcceleration(text: string): WantedAcceleration {
  if (text === 'kvm' || text === 'tcg' || text === 'auto') return text;
  throw invalid(`--accel '${text}' is not one of kvm, tcg and auto`);
}

/**
 * The accelerator to use.
 * @param memory the file in which the result is kept
 * @param probe boots a guest under KVM within the given number of ms
 * @throws unavailable if KVM is asked for and does not work
 */
export async function chooseAcceleration(
  wanted: WantedAcceleration,
  qemu: QemuCapabilities,
  memory: string,
  probe: (ms: number) => Promise<ProbeResult>,
  device = '/dev/kvm',
): Promise<AccelerationChoice> {
  if (wanted === 'tcg') return { acceleration: 'tcg', why: 'emulation was asked for (--accel tcg)' };
  const found = await findOut(wanted, qemu, memory, probe, device);
  if (wanted === 'auto' || found.acceleration === 'kvm') return found;
  throw unavailable(
    `--accel kvm: hardware virtualization does not work here: ${found.why}.\nSee to it that the processor's virtualization is on (in the firmware, or in the outer machine's settings) and /dev/kvm is there, or start with --accel auto.`,
  );
}

async function findOut(
  wanted: 'kvm' | 'auto',
  qemu: QemuCapabilities,
  memory: string,
  probe: (ms: number) => Promise<ProbeResult>,
  device: string,
): Promise<AccelerationChoice> {
  if (!existsSync(device)) return { acceleration: 'tcg', why: `this machine has no ${device}` };
  const key = `${release()} ${qemu.version}`;
  const kept = await readFile(memory, 'utf8').then(
    (text) => parseMemory(text),
    () => null,
  );
  const known = kept?.key === key ? kept : { key, answer: null, timeouts: 0 };
  // Whoever asks for KVM may have fixed it since, so a negative answer is not used then.
  if (known.answer !== null && (wanted === 'auto' || known.answer.acceleration === 'kvm')) return known.answer;
  const ms = wanted === 'kvm' ? WANTED_MS : PROBE_MS[Math.min(known.timeouts, PROBE_MS.length - 1)]!;
  log.info({ seconds: ms / 1000 }, 'trying hardware virtualization by booting a machine');
  const result = await probe(ms);
  if (result.outcome === 'timeout') {
    await writeWhole(memory, JSON.stringify({ ...known, timeouts: known.timeouts + 1 }));
    return {
      acceleration: 'tcg',
      why: `a machine under KVM did not boot within ${ms / 1000} s, which is no answer on a busy machine: it is tried again at the next start, unless that has --accel tcg`,
    };
  }
  const answer: AccelerationChoice =
    result.outcome === 'boots'
      ? { acceleration: 'kvm', why: 'a machine under KVM boots here' }
      : { acceleration: 'tcg', why: `a machine under KVM does not boot here: ${result.why}` };
  await writeWhole(memory, JSON.stringify({ ...known, answer }));
  return answer;
}

/** The stored answer; null if it is damaged or comes from an older version, which took time-outs for answers. */
function parseMemory(text: string): z.infer<typeof memoryFile> | null {
  try {
    return memoryFile.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** Boots a VM under KVM until the tether's first request. */
export async function probeKvm(
  boot: BootImage,
  qemu: QemuCapabilities,
  cages: Cages,
  ms: number,
): Promise<ProbeResult> {
  const directory = await mkdtemp(join(tmpdir(), 'caisson-kvm-'));
  const sockets = { qmp: join(directory, 'qmp'), guestRpc: join(directory, 'rpc') };
  const logFile = join(directory, 'log');
  const vm = {
    moid: 'probe',
    uuid: '00000000-0000-0000-0000-000000000000',
    name: 'probe',
    directory,
    cpus: 1,
    memoryMiB: 256,
    disks: [],
    nics: [],
    serials: [],
    extraConfig: new Map(),
  };
  const args = qemuArguments(vm, {
    acceleration: 'kvm',
    dialect: qemu,
    boot,
    sockets,
    taps: [],
    disks: [],
    serialFiles: new Map(),
  });
  const launch = qemuLauncher(cages, { boot, acceleration: 'kvm', netns: null, runDir: directory });
  const words = (): Promise<string> => printedIn(logFile);
  let process: Caged | null = null;
  try {
    process = await launch({ vm, use: 'boot', args, sockets, taps: [], logFile, inherited: [] });
    for (const deadline = Date.now() + ms; isRunning(process); await sleep(20)) {
      const left = deadline - Date.now();
      if (left <= 0) {
        const broken = GAVE_UP.exec(await words());
        return broken === null ? { outcome: 'timeout' } : { outcome: 'fails', why: broken[0] };
      }
      if (await asks(sockets.guestRpc, left)) return { outcome: 'boots' };
    }
    // A guest that crashes resets its machine, which ends QEMU (`-no-reboot`).
    return { outcome: 'fails', why: complaints(await words())[0]?.slice(0, 500) || 'QEMU or the guest ended' };
  } catch (error) {
    return { outcome: 'fails', why: messageOf(error) };
  } finally {
    if (process !== null) {
      signal(process, 'SIGKILL');
      await ended(process, KILL_MS);
    }
    await cages.groups.remove(vm.moid);
    await rm(directory, { recursive: true, force: true });
  }
}

/** True when the guest sends something. */
function asks(path: string, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const timer = setTimeout(() => socket.destroy(), timeoutMs);
    socket.once('data', () => {
      resolve(true);
      socket.destroy();
    });
    socket.on('error', () => undefined);
    socket.once('close', () => {
      clearTimeout(timer);
      resolve(false);
    });
  });
}
