/**
 * Container networks on the embedded host: addresses of a range or by DHCP, ports at the container's own address, the trust level, and an
 * interface of the machine as uplink.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { dockerOk } from '../support/docker-ok.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { OutsideNetwork } from '../support/outside-network.js';
import type { Stack } from '../support/stack.js';

/** Its leases are short, so that what follows from their end can be seen. */
const LEASE_SECONDS = 10;

let stack: Stack;
let outside: OutsideNetwork;

beforeAll(async () => {
  outside = new OutsideNetwork();
  await outside.serve(50, LEASE_SECONDS);
  stack = await startMirroredStack(['busybox'], {
    createOptions: [
      ...['--container-network', 'test-lan:lan', '--container-network-gateway', 'test-lan:10.9.0.1/24'],
      ...['--container-network-ip-range', 'test-lan:10.9.0.10-10.9.0.20'],
      ...['--container-network', 'test-shut:shut', '--container-network-gateway', 'test-shut:10.10.0.1/24'],
      ...['--container-network-firewall', 'test-shut:outbound'],
      ...['--container-network', 'test-office:office'],
    ],
    hostdOptions: ['--uplink', `test-office=${outside.interface}`],
  });
});

afterAll(async () => {
  await stack?.stop();
  await outside?.remove();
});

const ok = (...args: string[]): Promise<string> => dockerOk(stack, ...args);
const SERVE = 'while :; do echo served | nc -l -p 80; done & while :; do echo hidden | nc -l -p 81; done';
/** What a connection from a container to that port brings: the server's word, or nothing. */
const asked = async (from: string, address: string, port: number): Promise<string> =>
  (await stack.docker('exec', from, 'timeout', '4', 'nc', address, String(port))).stdout.trim();
const placeOf = async (container: string, network: string): Promise<{ IPAddress: string; Gateway: string }> =>
  JSON.parse(await ok('inspect', '-f', `{{json .NetworkSettings.Networks.${network}}}`, container));
const addressOf = async (container: string, network: string): Promise<string> =>
  (await placeOf(container, network)).IPAddress;

it('containers get addresses of the range, and are reached at their published ports only', async () => {
  expect(await ok('network', 'ls', '--format', '{{.Name}} {{.Driver}}')).toContain('lan external\n');
  await ok('run', '-d', '--name', 'server', '--network', 'lan', '-p', '80:80', 'busybox', 'sh', '-c', SERVE);
  await ok('run', '-d', '--name', 'client', '--network', 'lan', 'busybox', 'sleep', '1000');
  const address = await addressOf('server', 'lan');
  expect(address).toMatch(/^10\.9\.0\.1\d$/);
  expect((await ok('port', 'server')).trim()).toBe(`80/tcp -> ${address}:80`);
  await expect.poll(() => asked('client', address, 80)).toBe('served');
  expect(await asked('client', address, 81)).toBe('');
  // It is there.
  expect(await asked('server', address, 81)).toBe('hidden');
});

it('they are apart from bridge networks; a container that is connected while it runs is trusted no further from the beginning', async () => {
  await ok('run', '-d', '--name', 'bridged', '-p', '8001:80', 'busybox', 'sh', '-c', SERVE);
  expect(await asked('bridged', await addressOf('server', 'lan'), 80)).toBe('');
  const knock = 'while [ ! -e /enough ]; do timeout 1 nc 10.9.0.20 81; done > /got 2> /dev/null';
  await ok('exec', '-d', 'client', 'sh', '-c', knock);
  await ok('network', 'connect', '--ip', '10.9.0.20', 'lan', 'bridged');
  await expect.poll(() => asked('client', '10.9.0.20', 8001)).toBe('served');
  // Only by the number that it is published by.
  expect(await asked('client', '10.9.0.20', 80)).toBe('');
  await ok('exec', 'client', 'touch', '/enough');
  expect(await ok('exec', 'client', 'cat', '/got')).toBe('');
  await ok('network', 'disconnect', 'lan', 'bridged');
  expect(await asked('client', '10.9.0.20', 8001)).toBe('');
  await ok('rm', '-f', 'bridged', 'server');
});

it('what a network cannot do is refused, and no VM is left', async () => {
  for (const [network, option, why] of [
    ['lan', '-p=127.0.0.1:80:80', 'it cannot be published on 127.0.0.1'],
    ['shut', '-p=80', 'ports cannot be published via container network shut (firewall configured as "outbound")'],
    ['office', '--ip=10.77.0.9', 'Cannot set static IP (10.77.0.9) when default gateway is not set for network office'],
  ] as const) {
    const { code, stderr } = await stack.docker('run', '--rm', '--network', network, option, 'busybox', 'true');
    expect([code, stderr]).toEqual([125, expect.stringContaining(why)]);
  }
  expect((await ok('ps', '-aq', '--filter', 'status=created')).trim()).toBe('');
});

it('by DHCP, a container has its address, route and name servers before its first process runs', async () => {
  const show = 'ip -4 address show eth0; ip route; cat /etc/hosts /etc/resolv.conf; hostname';
  const ports = ['-p', '8001:80', '-p', '80'];
  await ok('run', '-d', '--name', 'leased', '--network', 'office', ...ports, 'busybox', 'sh', '-c', `${show};${SERVE}`);
  const { IPAddress: address, Gateway } = await placeOf('leased', 'office');
  expect([address, Gateway]).toEqual([expect.stringMatching(/^10\.77\.0\.5\d$/), OutsideNetwork.HOST]);
  // The first process's output may arrive after its start.
  await expect.poll(() => ok('logs', 'leased')).toMatch(/^[0-9a-f]{12}$/m);
  const seen = await ok('logs', 'leased');
  expect(seen).toContain(`inet ${address}/24 brd`);
  expect(seen).toContain(`default via ${OutsideNetwork.HOST} dev eth0`);
  expect(seen).toMatch(new RegExp(`^${address}\t(\\w{12})[^]*^nameserver 127\\.0\\.0\\.11$[^]*^\\1$`, 'm'));
  const inNetwork = await ok('network', 'inspect', '-f', '{{range .Containers}}{{.IPv4Address}}{{end}}', 'office');
  expect(inNetwork.trim()).toBe(`${address}/24`);
  expect((await ok('port', 'leased', '80/tcp')).trim().split('\n').sort()).toEqual([
    `${address}:80`,
    `${address}:8001`,
  ]);
  expect(await ok('ps', '--filter', 'name=leased', '--format', '{{.Ports}}')).toContain(`${address}:8001->80/tcp`);
});

it('it is reached from beyond the uplink at its published ports only, and reaches what is there', async () => {
  const address = await addressOf('leased', 'office');
  await expect.poll(() => outside.asked(address, 8001)).toBe('served');
  await expect.poll(() => outside.asked(address, 80)).toBe('served');
  expect(await outside.asked(address, 81)).toBe('');
  // What is sent to its card, but for an address that it does not have.
  const mac = await ok('exec', 'leased', 'cat', '/sys/class/net/eth0/address');
  await outside.run('ip', 'neighbour', 'replace', '10.77.0.99', 'lladdr', mac.trim(), 'dev', 'eth0');
  expect(await outside.asked('10.77.0.99', 8001)).toBe('');
  const listener = outside.listen(7000, 'outside');
  await expect.poll(() => asked('leased', OutsideNetwork.HOST, 7000)).toBe('outside');
  listener.kill();
});

it('a container that is connected while it runs gets its address there, and gives it back when it leaves', async () => {
  await ok('network', 'connect', 'office', 'client');
  const address = await addressOf('client', 'office');
  expect(address).toMatch(/^10\.77\.0\.5\d$/);
  expect(await ok('exec', 'client', 'ip', '-4', 'address', 'show', 'eth1')).toContain(`inet ${address}/24`);
  const held = async (): Promise<boolean> =>
    (await outside.leases()).split('\n').some((line) => line.includes(address) && !line.includes('expired'));
  expect(await held()).toBe(true);
  await ok('network', 'disconnect', 'office', 'client');
  expect(await held()).toBe(false);
});

it('an interface that goes and comes back, and a host that is started anew, change nothing', async () => {
  const address = await addressOf('leased', 'office');
  outside.pullOut();
  const problem = `test-office is not joined with ${outside.interface} (there is no such interface)`;
  await expect.poll(async () => (await stack.docker('info')).stderr).toContain(problem);
  await outside.stopServing();
  outside.plugIn();
  await outside.serve(50, LEASE_SECONDS);
  await expect.poll(() => outside.asked(address, 8001)).toBe('served');
  expect((await stack.docker('info')).stderr).not.toContain(problem);
  await stack.restartHostd();
  await expect.poll(() => outside.asked(address, 8001)).toBe('served');
  expect(await addressOf('leased', 'office')).toBe(address);
});

it('another lease is another address, in the container and for those who ask', async () => {
  const before = await addressOf('leased', 'office');
  await outside.serve(80, LEASE_SECONDS);
  await expect.poll(() => addressOf('leased', 'office')).toMatch(/^10\.77\.0\.8\d$/);
  const address = await addressOf('leased', 'office');
  await expect.poll(() => outside.asked(address, 8001)).toBe('served');
  expect(await outside.asked(before, 8001)).toBe('');
  await expect.poll(() => ok('exec', 'leased', 'cat', '/etc/hosts')).toContain(`${address}\t`);
  expect(await ok('exec', 'leased', 'ip', 'route')).toContain(`default via ${OutsideNetwork.HOST} dev eth0`);
  expect(await ok('port', 'leased', '80/tcp')).toContain(`${address}:8001`);
});
