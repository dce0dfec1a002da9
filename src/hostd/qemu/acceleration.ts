/**
 * Which accelerator works. `/dev/kvm` may exist, open, and still hang a guest: the answer comes from booting one, and is remembered
 * for this kernel and QEMU.
 */
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { logger } from '../../common/log.js';
import type { BootImage } from '../../common/paths.js';
import { writeWhole } from '../../common/write-whole.js';
import { type Acceleration, qemuArguments } from './command-line.js';

const log = logger('qemu');
const PROBE_MS = 6000;
export const QEMU = 'qemu-system-x86_64';

/** The accelerator to use. `cacheFile` keeps the answer. */
export async function probeAcceleration(boot: BootImage, cacheFile: string): Promise<Acceleration> {
  if (!existsSync('/dev/kvm')) return 'tcg';
  const { stdout } = await promisify(execFile)(QEMU, ['--version']);
  const key = `${release()} ${stdout.split('\n')[0]}`;
  const known = await readFile(cacheFile, 'utf8').then(
    (text) => JSON.parse(text) as { key: string; acceleration: Acceleration },
    () => null,
  );
  if (known?.key === key) return known.acceleration;
  const acceleration = (await boots(boot)) ? 'kvm' : 'tcg';
  log.info({ acceleration }, 'probed hardware virtualization by booting');
  await writeWhole(cacheFile, JSON.stringify({ key, acceleration }));
  return acceleration;
}

/** True when a VM under KVM boots to the tether's first request. */
async function boots(boot: BootImage): Promise<boolean> {
  const directory = await mkdtemp(join(tmpdir(), 'caisson-kvm-'));
  const sockets = { qmp: join(directory, 'qmp'), guestRpc: join(directory, 'rpc') };
  const args = qemuArguments(
    {
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
    },
    { acceleration: 'kvm', boot, sockets, taps: [] },
  );
  const child = spawn(QEMU, args, { stdio: 'ignore' });
  let running = true;
  child.on('exit', () => {
    running = false;
  });
  child.on('error', () => {
    running = false;
  });
  try {
    for (const deadline = Date.now() + PROBE_MS; running && Date.now() < deadline; await sleep(20)) {
      if (await asks(sockets.guestRpc, deadline - Date.now())) return true;
    }
    return false;
  } finally {
    child.kill('SIGKILL');
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
