/** Container networks on the embedded host: addresses of a range, ports at the container's own address, and the trust level. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { dockerOk } from '../support/docker-ok.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import type { Stack } from '../support/stack.js';

let stack: Stack;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox'], {
    createOptions: [
      ...['--container-network', 'test-lan:lan', '--container-network-gateway', 'test-lan:10.9.0.1/24'],
      ...['--container-network-ip-range', 'test-lan:10.9.0.10-10.9.0.20'],
      ...['--container-network', 'test-shut:shut', '--container-network-gateway', 'test-shut:10.10.0.1/24'],
      ...['--container-network-firewall', 'test-shut:outbound'],
    ],
  });
});

afterAll(() => stack?.stop());

const ok = (...args: string[]): Promise<string> => dockerOk(stack, ...args);
const SERVE = 'while :; do echo served | nc -l -p 80; done & while :; do echo hidden | nc -l -p 81; done';
/** What a connection from a container to that port brings: the server's word, or nothing. */
const asked = async (from: string, address: string, port: number): Promise<string> =>
  (await stack.docker('exec', from, 'timeout', '4', 'nc', address, String(port))).stdout.trim();

it('containers get addresses of the range, and are reached at their published ports only', async () => {
  expect(await ok('network', 'ls', '--format', '{{.Name}} {{.Driver}}')).toContain('lan external\n');
  await ok('run', '-d', '--name', 'server', '--network', 'lan', '-p', '80:80', 'busybox', 'sh', '-c', SERVE);
  await ok('run', '-d', '--name', 'client', '--network', 'lan', 'busybox', 'sleep', '1000');
  const address = (await ok('inspect', '-f', '{{.NetworkSettings.Networks.lan.IPAddress}}', 'server')).trim();
  expect(address).toMatch(/^10\.9\.0\.1\d$/);
  expect((await ok('port', 'server')).trim()).toBe(`80/tcp -> ${address}:80`);
  await expect.poll(() => asked('client', address, 80)).toBe('served');
  expect(await asked('client', address, 81)).toBe('');
  // It is there.
  expect(await asked('server', address, 81)).toBe('hidden');
});

it('they are apart from bridge networks', async () => {
  const address = (await ok('inspect', '-f', '{{.NetworkSettings.Networks.lan.IPAddress}}', 'server')).trim();
  await ok('run', '-d', '--name', 'bridged', 'busybox', 'sleep', '1000');
  expect(await asked('bridged', address, 80)).toBe('');
});

it('what a network cannot publish is refused, and no VM is left', async () => {
  for (const [network, port, why] of [
    ['lan', '8001:80', 'it cannot be published as 8001'],
    ['shut', '80', 'ports cannot be published via container network shut (firewall configured as "outbound")'],
  ] as const) {
    const { code, stderr } = await stack.docker('run', '--rm', '--network', network, '-p', port, 'busybox', 'true');
    expect([code, stderr]).toEqual([125, expect.stringContaining(why)]);
  }
  expect((await ok('ps', '-aq', '--filter', 'status=created')).trim()).toBe('');
});
