/** Networks, ports and the way out live in namespaces of their own: the machine's own network settings stay as they were. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { dockerOk } from '../support/docker-ok.js';
import { startMirroredStack } from '../support/mirrored-stack.js';

const run = promisify(execFile);

/** What a user would look at. Counters and ages of addresses and rules change by themselves. */
const LOOKS: Record<string, string[]> = {
  links: ['ip', '-o', 'link'],
  addresses: ['ip', '-o', 'address'],
  routes: ['ip', 'route', 'show', 'table', 'all'],
  'routes of IPv6': ['ip', '-6', 'route', 'show', 'table', 'all'],
  rules: ['ip', 'rule'],
  'rules of IPv6': ['ip', '-6', 'rule'],
  nftables: ['nft', 'list', 'ruleset'],
  iptables: ['iptables-save'],
  sysctls: [
    'sh',
    '-c',
    'grep -rs . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/bridge',
  ],
};

async function settings(): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for (const [what, [command = '', ...args]] of Object.entries(LOOKS)) {
    if (command === 'iptables-save' && !existsSync('/usr/sbin/iptables-save')) continue;
    const { stdout } = await run(command, args, { maxBuffer: 64 << 20 }).catch((error: { stdout?: string }) => ({
      stdout: error.stdout ?? '',
    }));
    const lasting = stdout
      .replaceAll(/ counter packets \d+ bytes \d+|\[\d+:\d+\]|(valid_lft|preferred_lft|expires) \d+sec/g, '')
      .replaceAll(/^#.*\n/gm, '');
    found[what] = lasting.split('\n').sort();
  }
  return found;
}

const machineAddresses = (): string[] =>
  Object.values(networkInterfaces()).flatMap((all = []) =>
    all.filter(({ family, internal }) => family === 'IPv4' && !internal).map(({ address }) => address),
  );

it('the machine’s interfaces, routes, firewall and settings are the same before, meanwhile and afterwards', async () => {
  const before = await settings();
  for (const what of ['links', 'addresses', 'rules', 'sysctls']) expect(before[what]?.length, what).toBeGreaterThan(2);
  const stack = await startMirroredStack(['busybox']);
  try {
    await dockerOk(stack, 'network', 'create', 'plain');
    await dockerOk(stack, 'network', 'create', '--ipv6', 'both');
    await dockerOk(stack, 'network', 'create', '--internal', 'inner');
    await dockerOk(stack, 'run', '-d', '--name', 'one', '--network', 'plain', '-p', '80', 'busybox', 'sleep', '1000');
    await dockerOk(stack, 'network', 'connect', 'both', 'one');
    await dockerOk(stack, 'network', 'connect', 'inner', 'one');
    // Something takes the way out, though not far.
    for (const address of machineAddresses()) await stack.docker('exec', 'one', 'timeout', '3', 'nc', address, '9');
    expect(await settings()).toEqual(before);
  } finally {
    await stack.stop();
  }
  expect(await settings()).toEqual(before);
});
