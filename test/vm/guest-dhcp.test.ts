/** A card on a container network that gives addresses by DHCP: the guest has one before the first process runs, renews it, and says so when there is none. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { neighbour } from '../support/guest-shell.js';
import { type LabGuest, until, VmLab } from '../support/vm-lab.js';

let lab: VmLab;
let server: ChildProcess;
let directory: string;

beforeAll(async () => {
  lab = await VmLab.open();
  directory = await mkdtemp(join(tmpdir(), 'caisson-dhcp-'));
  // A gateway gives no addresses; this one plays another network's server.
  const namespace = await neighbour(lab, ['10.9.0.1/24']);
  const lines = [
    ...[
      'start 10.9.0.50',
      'end 10.9.0.60',
      'interface eth0',
      `lease_file ${directory}/leases`,
      `pidfile ${directory}/pid`,
    ],
    ...['option subnet 255.255.255.0', 'option router 10.9.0.1', 'option lease 120'],
  ];
  await writeFile(join(directory, 'conf'), `${lines.join('\n')}\n`);
  await writeFile(join(directory, 'leases'), '');
  server = spawn('nsenter', [`--net=/run/netns/${namespace}`, 'busybox', 'udhcpd', '-f', join(directory, 'conf')], {
    stdio: 'inherit',
  });
});
afterAll(async () => {
  server?.kill();
  await lab?.runtime.virtualSwitch.disconnectEndpoint('vm-9');
  await lab?.close();
  await rm(directory, { recursive: true, force: true });
});

async function run(dhcp: 'address' | 'route'): Promise<LabGuest> {
  const guest = await lab.define({
    script: 'ip -o -4 addr; ip route; ping -c 1 10.9.0.1; exec sleep 1000',
    address: '0.0.0.0/0',
    nic: { address: '', dhcp, filter: { trust: 'outbound', ports: [], peers: [] } },
  });
  await lab.powerOn(guest);
  return guest;
}

it('has an address and the default route of the server before its first process runs, whatever its packet filter', async () => {
  const guest = await run('route');
  const output = await guest.printed(/packets received/);
  const [, address] = /eth0 +inet (10\.9\.0\.5\d)\/24 /.exec(output)!;
  expect(output).toMatch(/^default via 10\.9\.0\.1 dev eth0/m);
  expect(output).toContain('1 packets received');
  expect(guest.values.get('guestinfo.caisson.run.addresses')).toBe(`${guest.definition.nics[0]!.mac}=${address}/24`);

  const other = await (await run('address')).printed(/packets received/);
  expect(other).toMatch(/eth0 +inet 10\.9\.0\.5\d\/24/);
  expect(other).not.toContain('default');
  expect(other).not.toContain(`inet ${address}/`);
});

it('does not start without an address', async () => {
  server.kill();
  const guest = await run('route');
  await until(() => guest.status !== '', 'the start ends');
  expect(guest.status).toBe('failed 128 no DHCP server has given the container an address');
});
