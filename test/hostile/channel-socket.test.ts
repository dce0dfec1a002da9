/** The channel socket of a real VM: who can reach it, and that hostd reconnects it. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ContainerChannel } from '../../port-layer/interaction/container-channel.js';
import type { RunningVm } from '../../src/hostd/runtime.js';
import type { TetherConnection } from '../../tether/protocol/connection.js';
import { openChannel, sh } from '../support/guest-shell.js';
import { HostileGuest } from '../support/hostile-guest.js';
import { type LabGuest, until, VmLab } from '../support/vm-lab.js';

let lab: VmLab;
let guest: LabGuest;
let vm: RunningVm;
let path: string;
let channel: ContainerChannel;

beforeAll(async () => {
  lab = await VmLab.open();
  guest = await lab.define({ script: 'while :; do echo on; sleep 0.1; done' });
  const { backing } = guest.definition.serials[0]!;
  if (backing.kind !== 'unixClient') throw new Error('the lab gives VMs a channel');
  path = backing.path;
  channel = await openChannel(guest);
  vm = await lab.powerOn(guest);
  await until(() => guest.status.startsWith('started'), 'it has started');
});
afterAll(async () => {
  await channel?.close(true);
  await lab?.close();
});

/** Runs something in the guest. */
async function works(): Promise<void> {
  expect(await sh(channel, 'echo here')).toBe('here\n');
}

it('is on no command line, and is closed to others', async () => {
  await works();
  expect(await readFile(`/proc/${vm.pid}/cmdline`, 'latin1')).not.toContain(path);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  // As another, compromised QEMU.
  const program = `use Socket; socket(my $s, 1, 1, 0); print connect($s, sockaddr_un("${path}")) ? "in" : "$!"`;
  const other = ['--reuid', '64999', '--regid', '64100', '--clear-groups', '--no-new-privs', 'perl', '-e', program];
  const { stdout } = await promisify(execFile)('setpriv', other, { env: { ...process.env, LC_ALL: 'C' } });
  expect(stdout).toBe('Permission denied');
});

it('accepts no second peer while its VM lives', async () => {
  const second = await HostileGuest.connect(path);
  expect(await second.hungUp()).toBe(true);
  await works();
});

it('is reconnected to a new endpoint, and after the guest was hung up on', async () => {
  await channel.close(true);
  channel = await openChannel(guest);
  await works();
  // As after a protocol violation.
  const { connection } = channel as unknown as { connection: TetherConnection };
  const closed = once(connection, 'close');
  connection.close();
  await closed;
  await works();
});

it('is reconnected after a restart of hostd, to an endpoint that appeared meanwhile', async () => {
  vm.release();
  await channel.close(true);
  channel = await openChannel(guest);
  vm = (await lab.adoptAfterRestart(vm, guest))!;
  expect(vm).not.toBeNull();
  await works();
  await channel.close(true);
  channel = new ContainerChannel(path);
  await channel.listen();
  await works();
});
