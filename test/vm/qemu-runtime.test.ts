/** Real VMs as QEMU processes, with the real boot image. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isKind } from '../../src/common/errors.js';
import { bootImage } from '../../src/common/paths.js';
import { QemuRuntime } from '../../src/hostd/qemu/qemu-runtime.js';
import { CpioWriter } from '../../tether/image/cpio.js';
import { until, VmLab } from '../support/vm-lab.js';

let lab: VmLab;
beforeAll(async () => {
  lab = await VmLab.open();
});
afterAll(() => lab?.close());

const MIB = 2 ** 20;

/** Interfaces of the switch that belong to VMs. */
function taps(): string[] {
  const text = execFileSync('ip', ['-n', lab.runtime.virtualSwitch.namespace, '-o', 'link', 'show'], {
    encoding: 'utf8',
  });
  return [...text.matchAll(/^\d+: (t\w+)/gm)].map((match) => match[1]!);
}

/** Files of running VMs. */
const runFiles = (): string[] =>
  existsSync(join(lab.paths.runDir, 'vm')) ? readdirSync(join(lab.paths.runDir, 'vm')) : [];

const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}/exe`);

describe('a VM', () => {
  it('boots, asks for its program, reports its status and powers off by itself', async () => {
    const guest = await lab.define({ script: 'echo hello; exit 3' });
    const began = Date.now();
    const vm = await lab.powerOn(guest);
    const poweredOn = Date.now() - began;
    expect(await guest.printed(/hello/)).toBe('hello\n');
    console.log(`powered on after ${poweredOn} ms, first output after ${Date.now() - began} ms`);
    expect(await guest.exit()).toEqual({ reason: 'guestPowerOff' });
    expect(guest.status).toMatch(/^exited 3 0 0 \d+$/);
    expect(isAlive(vm.pid)).toBe(false);
    expect(runFiles()).toEqual([]);
    expect(guest.exits).toHaveLength(1);
  });

  it('keeps its disk over runs', async () => {
    const guest = await lab.define({ script: 'cat /kept 2>/dev/null || echo nothing; echo kept > /kept' });
    await lab.powerOn(guest);
    await guest.exit();
    guest.exits.length = 0;
    await lab.powerOn(guest);
    await guest.exit();
    expect(await guest.output()).toBe('nothing\nkept\n');
    execFileSync('qemu-img', ['check', '-q', guest.definition.disks[0]!.path]);
  });

  it('runs without privileges, under a seccomp filter, in the switch’s network namespace', async () => {
    const guest = await lab.define({ script: 'sleep 100', address: '10.9.0.9/24' });
    const { pid, usage } = await lab.powerOn(guest).then((vm) => ({ pid: vm.pid, usage: () => vm.usage() }));
    await until(() => guest.status.startsWith('started'), 'it has started');
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    expect(status).toMatch(/^Uid:\t(64[1-9]\d\d|65[01]\d\d)\t\1\t\1\t\1$/m);
    expect(/^Gid:\t(.*)$/m.exec(status)?.[1]).toBe(/^Uid:\t(.*)$/m.exec(status)?.[1]);
    expect(status).toMatch(/^CapEff:\t0+$/m);
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toMatch(/^Seccomp:\t2$/m);
    // What the kernel counts, in hundredths of a second: user and system time, the 14th and 15th field.
    const counted = (): number => {
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ');
      return (Number(fields[11]) + Number(fields[12])) / 100;
    };
    const before = counted();
    const { residentBytes, cpuSeconds } = await usage();
    expect(residentBytes).toBeGreaterThan(30 * MIB);
    expect(before).toBeGreaterThan(0);
    expect(cpuSeconds).toBeGreaterThanOrEqual(before);
    expect(cpuSeconds).toBeLessThanOrEqual(counted());
  });

  it('powers off hard, also twice, and leaves nothing behind', async () => {
    const guest = await lab.define({ script: 'trap "" TERM; sleep 100', address: '10.9.0.8/24' });
    const vm = await lab.powerOn(guest);
    await until(() => guest.status.startsWith('started'), 'it has started');
    const before = taps();
    await Promise.all([vm.powerOff(), vm.powerOff()]);
    expect(guest.exits).toEqual([{ reason: 'powerOff' }]);
    expect(isAlive(vm.pid)).toBe(false);
    expect(taps()).toHaveLength(before.length - 1);
    await vm.powerOff();
    expect(guest.exits).toHaveLength(1);
  });

  it('shuts down when asked: the process gets its signal', async () => {
    const guest = await lab.define({
      script: 'trap "echo stopping; exit 5" TERM; echo up; while :; do sleep 0.05; done',
    });
    const vm = await lab.powerOn(guest);
    await guest.printed(/up/);
    await vm.shutdownGuest();
    expect(await guest.exit()).toEqual({ reason: 'guestPowerOff' });
    expect(guest.status).toMatch(/^exited 5 /);
    expect(await guest.output()).toBe('up\nstopping\n');
  });

  it('reboots when asked', async () => {
    const guest = await lab.define({ script: 'trap "exit 0" TERM; echo up; while :; do sleep 0.05; done' });
    const vm = await lab.powerOn(guest);
    await guest.printed(/up/);
    await vm.rebootGuest();
    expect(await guest.exit()).toEqual({ reason: 'guestReset' });
  });

  it('counts as crashed when its process is killed', async () => {
    const guest = await lab.define({ script: 'sleep 100' });
    const vm = await lab.powerOn(guest);
    process.kill(vm.pid, 'SIGKILL');
    const message = expect.stringMatching(/QEMU was ended by signal 9 \(Killed\)/);
    expect(await guest.exit()).toMatchObject({ reason: 'crashed', message });
    expect(runFiles().filter((name) => name.startsWith(`${guest.definition.moid}.`))).toEqual([]);
  });

  it('whose kernel panics counts as crashed, not as rebooting', async () => {
    const guest = await lab.define({ script: 'sleep 100' });
    const { paths, runtime } = lab;
    const initramfs = join(guest.definition.directory, 'empty.cpio');
    await writeFile(initramfs, new CpioWriter().directory('dev').bytes());
    const boot = { kernel: bootImage().kernel, initramfs };
    const broken = new QemuRuntime(
      paths,
      boot,
      runtime.acceleration.acceleration,
      runtime.capabilities,
      runtime.virtualSwitch,
      runtime.cages,
    );
    const vm = await broken.powerOn(guest.definition, guest);
    expect(await guest.exit()).toMatchObject({ reason: 'crashed' });
    expect(isAlive(vm.pid)).toBe(false);
  });

  it('is stopped while it is suspended', async () => {
    const guest = await lab.define({ script: 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done' });
    const vm = await lab.powerOn(guest);
    await guest.printed(/\n3\n/);
    await vm.suspend();
    expect(await vm.suspended()).toBe(true);
    const before = await guest.output();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await guest.output()).toBe(before);
    await vm.resume();
    expect(await vm.suspended()).toBe(false);
    await until(async () => (await guest.output()).length > before.length, 'it goes on');
    await vm.powerOff();
  });
});

describe('two VMs', () => {
  it('reach each other over the bridge, and nothing else', async () => {
    const one = await lab.define({ script: 'sleep 100', address: '10.9.0.2/24' });
    const other = await lab.define({
      script: 'ping -c 3 -i 0.2 -W 5 10.9.0.2; cat /sys/class/net/eth0/address; ip -o link | wc -l',
      address: '10.9.0.3/24',
    });
    await lab.powerOn(one);
    await until(() => one.status.startsWith('started'), 'the first runs');
    await lab.powerOn(other);
    await other.exit();
    const output = await other.output();
    expect(output).toContain('0% packet loss');
    expect(output).toContain(other.definition.nics[0]!.mac);
  });
});

describe('memory', () => {
  it('of a large VM is taken when touched and given back when freed', async () => {
    const guest = await lab.define({
      script:
        'echo ready; sleep 1; dd if=/dev/zero of=/dev/shm/big bs=1M count=500 2>/dev/null; echo full; sleep 2; rm /dev/shm/big; echo freed; sleep 100',
      memoryMiB: 2048,
      cpus: 2,
    });
    const vm = await lab.powerOn(guest);
    const resident = async (): Promise<number> => (await vm.usage()).residentBytes / MIB;
    await guest.printed(/ready/);
    const small = await resident();
    await guest.printed(/full/);
    const full = await resident();
    await guest.printed(/freed/);
    await until(async () => (await resident()) < full - 400, 'the memory is back');
    console.log(
      `resident MiB: ${small.toFixed(0)} booted, ${full.toFixed(0)} full, ${(await resident()).toFixed(0)} after`,
    );
    expect(full).toBeGreaterThan(small + 450);
    await vm.powerOff();
  });
});

describe('hostd, restarted,', () => {
  it('finds a running VM again, serves it and can stop it', async () => {
    const guest = await lab.define({
      script: 'trap "exit 4" TERM; echo up; while :; do sleep 0.05; done',
      address: '10.9.0.4/24',
    });
    const asked = Date.now();
    const vm = await lab.powerOn(guest);
    const poweredOn = Date.now();
    await guest.printed(/up/);
    const found = await lab.adoptAfterRestart(vm, guest);
    expect(found?.pid).toBe(vm.pid);
    // The kernel gives it in hundredths of a second since the boot.
    expect(found!.startedAt.getTime()).toBeGreaterThan(asked - 1000);
    expect(found!.startedAt.getTime()).toBeLessThan(poweredOn + 1000);
    await found!.shutdownGuest();
    expect(await guest.exit()).toEqual({ reason: 'guestPowerOff' });
    expect(guest.status).toMatch(/^exited 4 /);
    expect(taps()).not.toContain(`t${guest.definition.moid.slice(3)}n0`);
  });

  it('finds a VM whose pid file is missing', async () => {
    const guest = await lab.define({ script: 'echo up; sleep 100' });
    const vm = await lab.powerOn(guest);
    await rm(join(lab.paths.runDir, 'vm', `${guest.definition.moid}.pid`));
    const found = await lab.adoptAfterRestart(vm, guest);
    expect(found?.pid).toBe(vm.pid);
    await found!.powerOff();
    expect(isAlive(vm.pid)).toBe(false);
  });

  it('cleans up after a VM that died meanwhile, which can be started again', async () => {
    const guest = await lab.define({ script: 'sleep 100', address: '10.9.0.5/24' });
    const vm = await lab.powerOn(guest);
    vm.release();
    process.kill(vm.pid, 'SIGKILL');
    await until(() => !isAlive(vm.pid), 'it is dead');
    expect(await lab.adoptAfterRestart(vm, guest)).toBeNull();
    expect(runFiles().filter((name) => name.startsWith(`${guest.definition.moid}.`))).toEqual([]);
    expect(taps()).not.toContain(`t${guest.definition.moid.slice(3)}n0`);
    const again = await lab.powerOn(guest);
    await again.powerOff();
  });
});

describe('a VM that cannot start', () => {
  it('leaves nothing behind and reports QEMU’s message', async () => {
    const guest = await lab.define({ script: 'true', address: '10.9.0.6/24' });
    const before = { taps: taps(), files: runFiles() };
    const damaged = { ...guest.definition, disks: [{ bus: 0, unit: 0, path: '/etc/hostname', readOnly: true }] };
    await expect(lab.runtime.powerOn(damaged, guest)).rejects.toThrow(
      /could not be started: .*(VMDK|vmdk|[Ff]ormat|image)/,
    );
    expect({ taps: taps(), files: runFiles() }).toEqual(before);
    expect(guest.exits).toEqual([]);
  });

  it('can be cancelled', async () => {
    const guest = await lab.define({ script: 'true', address: '10.9.0.7/24' });
    const before = { taps: taps(), files: runFiles() };
    const starting = lab.runtime.powerOn(guest.definition, guest, AbortSignal.abort());
    await expect(starting).rejects.toSatisfy((error) => isKind(error, 'cancelled'));
    expect({ taps: taps(), files: runFiles() }).toEqual(before);
  });

  it('is refused before anything is created when the host lacks the resources', async () => {
    const guest = await lab.define({ script: 'true', memoryMiB: 16 * 1024 * 1024 });
    await expect(lab.powerOn(guest)).rejects.toSatisfy((error) => isKind(error, 'insufficientResources'));
    expect(existsSync(join(guest.definition.directory, 'qemu.log'))).toBe(false);
  });
});
