/** Networks inside a VM from the warm pool: IPv6, cards that come and go while the container runs, routes, and the files that follow. */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ContainerChannel } from '../../port-layer/interaction/container-channel.js';
import type { RunningVm } from '../../src/hostd/runtime.js';
import { sh, startGuest } from '../support/guest-shell.js';
import { type LabGuest, until, VmLab } from '../support/vm-lab.js';

const OTHER = 'lab other';
const HOSTS = '127.0.0.1\tlocalhost\n10.9.0.2\tme\n';
const RESOLV = 'nameserver 10.9.0.53\n';
const MISSING = '00:0c:29:00:99:99';

let cache: string;
let lab: VmLab;
let guest: LabGuest;
let vm: RunningVm;
let channel: ContainerChannel;
/** Asked for at once, because the guest waits long for a card. */
let missing: Promise<unknown>;

/** Processes of VMs that were spare ones of the warm pool, or are. */
const spares = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`guest=${lab.paths.runDir}/pool/`);
      } catch {
        return false;
      }
    })
    .map(Number);

/** Processor time that a process has used: a spare VM that waits uses none. */
function cpu(pid: number): string {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return `${fields[11]} ${fields[12]}`;
}

beforeAll(async () => {
  cache = await mkdtemp(join(tmpdir(), 'caisson-guest-networks-'));
  lab = await VmLab.open(cache, 1);
  await lab.runtime.virtualSwitch.addPortGroup(OTHER);
  // Its snapshot fills the pool.
  const first = await lab.define({ script: 'true', address: '10.9.0.9/24' });
  await lab.powerOn(first);
  await first.exit();
  await until(async () => {
    const [before] = spares();
    if (before === undefined) return false;
    const used = cpu(before);
    await sleep(300);
    return spares()[0] === before && cpu(before) === used;
  }, 'a spare VM waits');
  const waiting = spares();
  ({ guest, vm, channel } = await startGuest(lab, {
    address: '10.9.0.2/24',
    nic: {
      address6: 'fd00:9::2/64',
      gateway6: 'fd00:9::1',
      mtu: 1400,
      sysctls: { 'net.ipv4.conf.IFNAME.log_martians': '1' },
    },
    program: {
      sysctls: { 'net.ipv6.conf.eth0.hop_limit': '77' },
      files: [
        { path: '/etc/hosts', content: HOSTS, mode: 0o644 },
        { path: '/etc/resolv.conf', content: RESOLV, mode: 0o644 },
      ],
    },
  }));
  expect(waiting).toContain(vm.pid);
  missing = channel.addNic({ name: '', mac: MISSING, address: '10.7.0.2/24' }).then(
    () => null,
    (error: unknown) => error,
  );
});
afterAll(async () => {
  await channel?.close(true);
  await lab?.close();
  await rm(cache, { recursive: true, force: true });
});

const mac = (index: number): string => `00:0c:29:00:77:${String(index).padStart(2, '0')}`;
const plug = (index: number): Promise<void> =>
  vm.plug({ kind: 'nic', nic: { index, mac: mac(index), portGroup: OTHER, connected: true } }, guest.definition);
const unplug = (index: number): Promise<void> =>
  vm.unplug({ kind: 'nic', nic: { index, mac: mac(index), portGroup: OTHER, connected: true } });
const shows = (script: string): Promise<string> => sh(channel, script);

it('has the IPv6 address, the default route and the settings of its program, and takes none from a router', async () => {
  const addresses = await shows('ip -o addr');
  expect(addresses).toMatch(/eth0 +inet 10\.9\.0\.2\/24/);
  expect(addresses).toMatch(/eth0 +inet6 fd00:9::2\/64 scope global /);
  expect(addresses).not.toContain('tentative');
  expect(await shows('ip -6 route')).toMatch(/^default via fd00:9::1 dev eth0/m);
  const conf = '/proc/sys/net/ipv6/conf/eth0';
  const values = `cat ${conf}/accept_ra ${conf}/autoconf ${conf}/hop_limit /proc/sys/net/ipv4/conf/eth0/log_martians /sys/class/net/eth0/mtu`;
  expect(await shows(values)).toBe('0\n0\n77\n1\n1400\n');
  expect(guest.values.get('guestinfo.caisson.run.addresses')).toContain('=10.9.0.2/24');
});

it('is given a card while it runs, asked before or after the card is plugged in', async () => {
  const added = channel.addNic({
    ...{ name: '', mac: mac(1), address: '10.8.0.2/24', gateway: '10.8.0.1', address6: 'fd00:8::2/64' },
    sysctls: { 'net.ipv4.conf.IFNAME.rp_filter': '2' },
  });
  await plug(1);
  await added;
  const addresses = await shows('ip -o addr; cat /proc/sys/net/ipv4/conf/eth1/rp_filter');
  expect(addresses).toMatch(/eth1 +inet 10\.8\.0\.2\/24/);
  expect(addresses).toMatch(/eth1 +inet6 fd00:8::2\/64 scope global /);
  expect(addresses).toMatch(/^2$/m);
  expect(await shows('ip route')).toMatch(/^default via 10\.8\.0\.1 dev eth1/m);
  expect(guest.values.get('guestinfo.caisson.run.addresses')).toContain(`${mac(1)}=10.8.0.2/24`);

  await plug(2);
  await channel.addNic({ name: '', mac: mac(2), address: '10.6.0.2/24' });
  expect(await shows('ip -o addr')).toMatch(/eth2 +inet 10\.6\.0\.2\/24/);
  // No IPv6 at all on a card without an address for it.
  expect(await shows('ip -6 -o addr show dev eth2')).toBe('');
});

it('changes its default routes', async () => {
  await channel.routes({ gateway: '10.6.0.1', mac: mac(2), gateway6: 'fd00:8::1', mac6: mac(1) });
  expect(await shows('ip route')).toMatch(/^default via 10\.6\.0\.1 dev eth2/m);
  expect((await shows('ip -6 route')).match(/^default.*/gm)).toEqual([
    expect.stringContaining('default via fd00:8::1 dev eth1'),
  ]);
  await channel.routes({ gateway: '', mac: '', gateway6: '', mac6: '' });
  expect(`${await shows('ip route')}${await shows('ip -6 route')}`).not.toContain('default');
  await expect(channel.routes({ gateway: '10.6.0.1', mac: MISSING, gateway6: '', mac6: '' })).rejects.toThrow(
    'not in the machine',
  );
});

it('loses cards and gets new ones, many times, also after it was suspended; each has the first free name', async () => {
  for (let round = 0; round < 5; round++) {
    await channel.removeNic(mac(1));
    expect(await shows('ip -o addr')).not.toContain('10.8.0.');
    await unplug(1);
    if (round === 2) {
      await vm.suspend();
      await vm.resume();
    }
    await Promise.all([
      channel.addNic({ name: '', mac: mac(1), address: `10.8.0.${round + 10}/24`, mtu: 1300 }),
      plug(1),
    ]);
    const seen = await shows('ip -o addr; cat /sys/class/net/eth1/mtu');
    expect(seen).toMatch(new RegExp(`eth1 +inet 10\\.8\\.0\\.${round + 10}/24`));
    expect(seen).toMatch(/^1300$/m);
    expect(seen).not.toMatch(/eth1 +inet6/);
  }
  // A card that is gone is no error.
  await channel.removeNic(MISSING);
});

it('has files written anew in place; what the container changed in them stays as it does in Docker', async () => {
  const before = await shows('ls -i /etc/hosts /etc/resolv.conf');
  const write = (hosts: string, resolv: string): Promise<void> =>
    channel.rewrite([
      { path: '/etc/hosts', content: hosts, changed: 'merged' },
      { path: '/etc/resolv.conf', content: resolv, changed: 'left' },
    ]);
  await write(`${HOSTS}10.8.0.2\tme\n`, 'nameserver 127.0.0.11\noptions ndots:0\n');
  expect(await shows('cat /etc/hosts /etc/resolv.conf')).toBe(
    `${HOSTS}10.8.0.2\tme\nnameserver 127.0.0.11\noptions ndots:0\n`,
  );
  await shows('echo 1.2.3.4 own >> /etc/hosts; echo "# own" >> /etc/resolv.conf');
  await write(`127.0.0.1\tlocalhost\n10.8.0.3\tme\n`, RESOLV);
  expect(await shows('cat /etc/hosts')).toBe('127.0.0.1\tlocalhost\n1.2.3.4 own\n10.8.0.3\tme\n');
  expect(await shows('cat /etc/resolv.conf')).toBe('nameserver 127.0.0.11\noptions ndots:0\n# own\n');
  expect(await shows('ls -i /etc/hosts /etc/resolv.conf')).toBe(before);
  await expect(channel.rewrite([{ path: '/etc/passwd', content: '', changed: 'left' }])).rejects.toThrow(
    'no such file',
  );
});

it('says so when the card does not come', async () => {
  expect(await missing).toMatchObject({ message: 'the network card has not appeared in the machine' });
});
