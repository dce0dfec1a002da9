/** User-made networks with real VMs: containers come and go on them while they run, and all of it outlives endpoint and host. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitForDocker } from '../../src/cli/docker-probe.js';
import { dockerOk } from '../support/docker-ok.js';
import { hasIpv6 } from '../support/ipv6.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import type { Stack } from '../support/stack.js';
import { endpointPid } from '../support/started.js';

let stack: Stack;
const docker = (...args: string[]): Promise<string> => dockerOk(stack, ...args);
const sh = (container: string, script: string): Promise<string> => docker('exec', container, 'sh', '-c', script);

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
});
afterAll(async () => stack?.stop());

/** Address by network. */
async function addresses(container: string): Promise<Record<string, string>> {
  const text = await docker('inspect', '-f', '{{json .NetworkSettings.Networks}}', container);
  const networks = JSON.parse(text) as Record<string, { IPAddress: string }>;
  return Object.fromEntries(Object.entries(networks).map(([name, { IPAddress }]) => [name, IPAddress]));
}

/** @param seconds how long an answer is waited for: where one is to come, as long as a busy machine takes */
const pings = (from: string, address: string, seconds = 30): Promise<boolean> =>
  stack.docker('exec', from, 'ping', '-c', '1', '-W', `${seconds}`, address).then(({ code }) => code === 0);
const SOON = 2;

describe('a container that runs', () => {
  beforeAll(async () => {
    await docker('network', 'create', 'front', '--subnet', '10.201.1.0/24');
    await docker('network', 'create', 'back', '--subnet', '10.201.2.0/24', '--internal');
    await docker('run', '-d', '--name', 'first', '--network', 'front', 'busybox', 'sleep', '100000');
    await docker('run', '-d', '--name', 'second', '--network', 'back', 'busybox', 'sleep', '100000');
  });

  it('reaches another as soon as it is connected to its network, and not before', async () => {
    const { back } = await addresses('second');
    expect(await pings('first', back!, SOON)).toBe(false);
    await docker('network', 'connect', '--ip', '10.201.2.9', 'back', 'first');
    expect(await addresses('first')).toEqual({ front: '10.201.1.2', back: '10.201.2.9' });
    expect(await pings('first', back!)).toBe(true);
    expect(await pings('second', '10.201.2.9')).toBe(true);
    expect(await sh('first', 'ip -4 route; cat /etc/hosts')).toMatch(/default via 10\.201\.1\.1[\s\S]*10\.201\.2\.9/);
  });

  it('loses a network, and its default route moves', async () => {
    await docker('network', 'connect', 'bridge', 'first');
    // "bridge" comes before "front".
    expect(await sh('first', 'ip -4 route')).toContain('default via 172.16.0.1');
    await docker('network', 'disconnect', 'bridge', 'first');
    expect(await sh('first', 'ip -4 route')).toContain('default via 10.201.1.1');
    await docker('network', 'disconnect', 'back', 'first');
    expect(await sh('first', 'ip -o -4 addr; cat /etc/hosts')).not.toContain('10.201.2.9');
    expect(await pings('second', '10.201.2.9', SOON)).toBe(false);
    await docker('network', 'connect', '--ip', '10.201.2.9', 'back', 'first');
  });

  it('keeps what it had when a connection is refused', async () => {
    const before = await sh('first', 'ip -o addr; ip route');
    const { stderr } = await stack.docker('network', 'connect', '--ip', '10.201.2.9', 'back', 'second');
    expect(stderr).toContain('endpoint with name second already exists in network back');
    const taken = await stack.docker('network', 'connect', '--ip', '10.201.1.2', 'front', 'second');
    expect(taken.stderr).toContain('Address already in use');
    await docker('pause', 'first');
    const paused = await stack.docker('network', 'connect', 'bridge', 'first');
    expect(paused.stderr).toContain('is paused, unpause the container');
    await docker('unpause', 'first');
    expect(await sh('first', 'ip -o addr; ip route')).toBe(before);
    expect(Object.keys(await addresses('second'))).toEqual(['back']);
  });

  it('may be connected many times at once, to one network or several', async () => {
    const names = ['a', 'b', 'c'];
    await Promise.all(names.map((name) => docker('network', 'create', name)));
    const same = await Promise.all([1, 2].map(() => stack.docker('network', 'connect', 'a', 'second')));
    expect(same.map(({ code }) => code).sort()).toEqual([0, 1]);
    await Promise.all(['b', 'c'].map((name) => docker('network', 'connect', name, 'second')));
    const had = await addresses('second');
    expect(Object.keys(had).sort()).toEqual(['a', 'b', 'back', 'c']);
    const shown = await sh('second', 'ip -o -4 addr');
    for (const address of Object.values(had)) expect(shown).toContain(address);
    // A removal that comes at the same time finds it there or gone, and leaves nothing half done.
    const [gone] = await Promise.all([
      stack.docker('network', 'rm', 'a'),
      docker('network', 'disconnect', 'a', 'second'),
    ]);
    if (gone.code !== 0) await docker('network', 'rm', 'a');
    for (const name of ['b', 'c']) await docker('network', 'disconnect', name, 'second');
    await docker('network', 'rm', 'b', 'c');
  });

  it.runIf(hasIpv6)('has IPv6 on a network that has it', async () => {
    await docker('network', 'create', 'six', '--ipv6', '--subnet', 'fd00:c:a:1::/64', '--ipv4=false');
    await docker('network', 'connect', '--ip6', 'fd00:c:a:1::9', 'six', 'first');
    await docker('network', 'connect', 'six', 'second');
    expect(await pings('second', 'fd00:c:a:1::9')).toBe(true);
    for (const name of ['first', 'second']) await docker('network', 'disconnect', 'six', name);
    await docker('network', 'rm', 'six');
  });
});

describe('networks and addresses', () => {
  const networks = async (): Promise<string> => docker('network', 'ls', '--no-trunc');

  it('are kept by a container that is stopped, without a network in use being removed', async () => {
    const before = await addresses('first');
    expect((await stack.docker('network', 'rm', 'front')).stderr).toContain('has active endpoints');
    await docker('stop', '-t', '0', 'first');
    await docker('run', '--rm', '--network', 'front', 'busybox', 'true');
    await docker('start', 'first');
    expect(await addresses('first')).toEqual(before);
    const { back } = await addresses('second');
    expect(await pings('first', back!)).toBe(true);
  });

  it('outlive the endpoint and the host, however many there are', async () => {
    // More than a container can be on, so that the gateway has cards with numbers of two digits.
    const more = Array.from({ length: 10 }, (_, n) => `more${n}`);
    for (const name of more) await docker('network', 'create', name);
    await docker('network', 'connect', more.at(-1)!, 'second');
    const last = await docker('network', 'inspect', '-f', '{{(index .IPAM.Config 0).Gateway}}', more.at(-1)!);
    expect(await pings('second', last.trim())).toBe(true);
    const had = { networks: await networks(), first: await addresses('first'), second: await addresses('second') };
    await docker('run', '--name', 'resting', '--network', 'front', 'busybox', 'true');
    const log = stack.endpointLog().length;
    process.kill(endpointPid(stack.paths, 'test'), 'SIGKILL');
    await expect.poll(() => stack.endpointLog().slice(log), { timeout: 60_000 }).toContain('the endpoint is up');
    await waitForDocker({ host: '127.0.0.1', port: stack.port }, 60_000);
    expect(await networks()).toBe(had.networks);
    expect({ first: await addresses('first'), second: await addresses('second') }).toEqual({
      first: had.first,
      second: had.second,
    });
    await stack.restartHostd();
    await waitForDocker({ host: '127.0.0.1', port: stack.port }, 60_000);
    expect(await networks()).toBe(had.networks);
    expect(await pings('second', last.trim())).toBe(true);
    await docker('network', 'disconnect', more.at(-1)!, 'second');
    await docker('network', 'rm', ...more);
    await docker('network', 'disconnect', 'back', 'first');
    await docker('network', 'connect', 'back', 'first');
    expect(await pings('first', had.second.back!)).toBe(true);
  });

  it('are gone when they are removed; a container that was on one does not start', async () => {
    await docker('rm', '-f', 'first', 'second');
    await docker('network', 'rm', 'front', 'back');
    expect((await stack.docker('start', 'resting')).stderr).toContain('not found');
    await docker('rm', 'resting');
    expect(await networks()).not.toMatch(/front|back/);
  });
});
