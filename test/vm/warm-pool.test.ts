/** VMs from the warm pool: the same as booted ones, isolated in the same way, and never left behind. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { prepareBootImage } from '../../src/setup/boot-image.js';
import { type LabGuest, until, VmLab } from '../support/vm-lab.js';

const SIZE = 2;
const CLONES = 100;
let lab: VmLab;
let cache: string;

beforeAll(async () => {
  await prepareBootImage({ strict: true });
  cache = await mkdtemp(join(tmpdir(), 'caisson-pool-'));
  lab = await VmLab.open(cache, SIZE);
  // The first VM of a shape is booted, and leaves a snapshot from which the pool is filled.
  await (await run('true', '10.9.0.2/24')).exit();
  await full();
});

afterAll(async () => {
  await lab?.close();
  await rm(cache, { recursive: true, force: true });
});

/** Process ids of the spare VMs and of VMs taken from the pool. */
function fromPool(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        return line.startsWith('qemu-') && line.includes(`guest=${lab.paths.runDir}/pool/`);
      } catch {
        return false;
      }
    })
    .map(Number);
}

const spareLogs = (): string[] => readdirSync(join(lab.paths.stateDir, 'pool')).filter((name) => name.endsWith('.log'));

/** Guests of the pool's shape: one size, one card. */
async function run(script: string, address = '10.9.0.3/24'): Promise<LabGuest> {
  const guest = await lab.define({ script, address });
  await lab.powerOn(guest);
  return guest;
}

/** Waits until the pool is full and idle: a waiting spare VM uses next to nothing. */
async function full(): Promise<void> {
  const cpu = (pid: number): number => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return Number(fields[11]) + Number(fields[12]);
  };
  await until(async () => {
    const given = new Set(givenProcesses());
    const spares = fromPool().filter((pid) => !given.has(pid));
    if (spares.length !== SIZE) return false;
    try {
      const before = spares.map(cpu);
      await sleep(150);
      return spares.every((pid, index) => cpu(pid) - before[index]! <= 1);
    } catch {
      return false;
    }
  }, 'the pool is full');
}

function givenProcesses(): number[] {
  const directory = join(lab.paths.runDir, 'vm');
  return existsSync(directory)
    ? readdirSync(directory)
        .filter((name) => name.endsWith('.pid'))
        .map((name) => (JSON.parse(readFileSync(join(directory, name), 'utf8')) as { pid: number }).pid)
    : [];
}

function taps(): string[] {
  const text = execFileSync('ip', ['-n', lab.runtime.virtualSwitch.namespace, '-o', 'link', 'show'], {
    encoding: 'utf8',
  });
  return [...text.matchAll(/^\d+: (t\w+)/gm)].map((match) => match[1]!);
}

describe('a VM from the warm pool', () => {
  it('has its own disk, host name, card, clock and program, and keeps what it writes', async () => {
    const waiting = fromPool();
    expect(waiting).toHaveLength(SIZE);
    const guest = await lab.define({
      script:
        'cat /kept 2>/dev/null; echo kept > /kept; hostname; cat /sys/class/net/eth0/address; date +%s; ls / | wc -l',
      address: '10.9.0.4/24',
    });
    const began = Date.now();
    const vm = await lab.powerOn(guest);
    expect(waiting).toContain(vm.pid);
    expect(await guest.exit()).toEqual({ reason: 'guestPowerOff' });
    const [hostname, mac, seconds] = (await guest.output()).split('\n');
    expect(hostname).toBe(guest.definition.name);
    expect(mac).toBe(guest.definition.nics[0]!.mac);
    expect(Number(seconds)).toBeGreaterThan(began / 1000 - 2);
    expect(Number(seconds)).toBeLessThan(Date.now() / 1000 + 2);
    execFileSync('qemu-img', ['check', '-q', guest.definition.disks[0]!.path]);
    guest.exits.length = 0;
    await full();
    await lab.powerOn(guest);
    await guest.exit();
    expect((await guest.output()).split('\n')).toContain('kept');
  });

  it('has nothing left of its rehearsal, and its parent disk is unchanged', async () => {
    await full();
    const base = join(lab.paths.datastoreDir, 'base', 'base.vmdk');
    const before = statSync(base).mtimeMs;
    const guest = await run('ls /rehearsed /lost+found/.. ; cat /proc/mounts; df /dev/shm 2>/dev/null | tail -1');
    await guest.exit();
    const output = await guest.output();
    expect(output).not.toMatch(/^rehearsed$/m);
    expect(output).toContain('/dev/shm');
    expect(statSync(base).mtimeMs).toBe(before);
  });

  it('runs without privileges as its own user, at normal priority', async () => {
    await full();
    const [one, other] = [
      await run('sleep 100', '10.9.0.5/24'),
      await run('ping -c 3 -i 0.2 -W 5 10.9.0.5', '10.9.0.6/24'),
    ];
    await other.exit();
    expect(await other.output()).toContain(' 0% packet loss');
    const users = fromPool().map((pid) => {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      expect(/^Gid:\t(.*)$/m.exec(status)?.[1]).toBe(/^Uid:\t(.*)$/m.exec(status)?.[1]);
      expect(status).toMatch(/^CapEff:\t0+$/m);
      expect(status).toMatch(/^NoNewPrivs:\t1$/m);
      expect(status).toMatch(/^Seccomp:\t2$/m);
      return /^Uid:\t(\d+)\t\1\t\1\t\1$/m.exec(status)?.[1];
    });
    expect(new Set(users).size).toBe(users.length);
    expect(users.every((user) => Number(user) > 65100)).toBe(true);
    const pid = givenProcesses().find((given) => fromPool().includes(given))!;
    for (const thread of readdirSync(`/proc/${pid}/task`))
      expect(readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8').split(') ')[1]!.split(' ')[16]).toBe('0');
    expect(one.exits).toEqual([]);
  });

  it('is found again by a restarted hostd, which kills the waiting ones', async () => {
    await full();
    const guest = await lab.define({
      script: 'trap "exit 4" TERM; echo up; while :; do sleep 0.05; done',
      address: '10.9.0.7/24',
    });
    const asked = Date.now();
    const vm = await lab.powerOn(guest);
    const poweredOn = Date.now();
    await guest.printed(/up/);
    await full();
    const waiting = fromPool().filter((pid) => !givenProcesses().includes(pid));
    const spareTaps = taps().filter((name) => name.startsWith('tpool'));
    const found = await lab.adoptAfterRestart(vm, guest);
    expect(found?.pid).toBe(vm.pid);
    expect(found!.startedAt.getTime()).toBeGreaterThan(asked - 1000);
    expect(found!.startedAt.getTime()).toBeLessThan(poweredOn + 1000);
    expect(waiting.filter((pid) => existsSync(`/proc/${pid}/exe`))).toEqual([]);
    await found!.shutdownGuest();
    expect(await guest.exit()).toEqual({ reason: 'guestPowerOff' });
    expect(guest.status).toMatch(/^exited 4 /);
    expect(spareTaps).toHaveLength(SIZE);
    expect(taps()).not.toContain(`t${guest.definition.moid.slice(3)}n0`);
  });

  it('that fails to take over is killed, and the VM is started another way', async () => {
    await (await run('true')).exit();
    await full();
    const waiting = fromPool().filter((pid) => !givenProcesses().includes(pid));
    for (const pid of waiting) process.kill(pid, 'SIGSTOP');
    const starting = run('echo lives');
    // The monitor of a stopped process does not answer; a dead one is gone.
    await sleep(300);
    for (const pid of waiting) process.kill(pid, 'SIGKILL');
    const guest = await starting;
    expect(await guest.exit()).toEqual({ reason: 'guestPowerOff' });
    expect(await guest.output()).toContain('lives');
    expect(guest.exits).toHaveLength(1);
    await full();
  });

  it(`is unique among ${CLONES}`, async () => {
    const seen = { random: new Set<string>(), uuid: new Set<string>() };
    const clocks: number[] = [];
    const ahead: number[] = [];
    const behind: number[] = [];
    const pids = new Set<number>();
    for (let i = 0; i < CLONES; i++) {
      const guest = await lab.define({
        script: 'dd if=/dev/urandom bs=16 count=1 2>/dev/null | od -An -tx1; cat /proc/sys/kernel/random/uuid',
        address: '10.9.0.8/24',
      });
      const infoSet = guest.infoSet.bind(guest);
      guest.infoSet = (key, value) => {
        const began = /^started (\d+)/.exec(value)?.[1];
        if (began !== undefined) {
          const at = Number(BigInt(began) / 1_000_000n);
          clocks.push(Date.now() - at);
          if (at > Date.now() + 50) ahead.push(at);
          if (at < asked - 50) behind.push(at);
        }
        infoSet(key, value);
      };
      // The pool is filled more slowly than this test empties it.
      if (i % 10 === 0) await full();
      const waiting = new Set(fromPool());
      const asked = Date.now();
      const vm = await lab.powerOn(guest);
      if (waiting.has(vm.pid)) pids.add(vm.pid);
      await guest.exit();
      const [random = '', uuid = ''] = (await guest.output()).split('\n');
      expect(random).toMatch(/^( [0-9a-f]{2}){16}$/);
      seen.random.add(random);
      seen.uuid.add(uuid);
    }
    expect(seen.random.size).toBe(CLONES);
    expect(seen.uuid.size).toBe(CLONES);
    clocks.sort((a, b) => a - b);
    console.log(`${pids.size} of ${CLONES} from the pool; clocks ${clocks[0]} to ${clocks.at(-1)} ms`);
    expect(pids.size).toBeGreaterThanOrEqual(CLONES / 10);
    // By its own clock, each began after it was requested and before its start was reported.
    expect([ahead, behind]).toEqual([[], []]);
  }, 900_000);
});

describe('the warm pool', () => {
  it('leaves nothing behind when hostd ends', async () => {
    await full();
    const waiting = fromPool().filter((pid) => !givenProcesses().includes(pid));
    await lab.runtime.close();
    expect(waiting.filter((pid) => existsSync(`/proc/${pid}/exe`))).toEqual([]);
    expect(spareLogs()).toEqual([]);
    expect(readdirSync(join(lab.paths.runDir, 'pool'))).toEqual([]);
    expect(taps().filter((name) => name.startsWith('tpool'))).toEqual([]);
    await lab.restart();
  });

  it('is filled after a restart of hostd, before any VM is powered on', async () => {
    await full();
    const before = fromPool().filter((pid) => !givenProcesses().includes(pid));
    expect(before).toHaveLength(SIZE);
    await lab.restart();
    await full();
    expect(fromPool().filter((pid) => before.includes(pid))).toEqual([]);
  });

  it('leftovers of a killed hostd’s pool are removed', async () => {
    const stale = join(lab.paths.runDir, 'pool', '700.qmp');
    await writeFile(stale, '');
    execFileSync('ip', [
      '-n',
      lab.runtime.virtualSwitch.namespace,
      'tuntap',
      'add',
      'dev',
      'tpool700n0',
      'mode',
      'tap',
    ]);
    await lab.restart();
    expect(existsSync(stale)).toBe(false);
    expect(taps()).not.toContain('tpool700n0');
  });
});
