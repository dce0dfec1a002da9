/** The relay: real packets between network namespaces, without any virtual machine. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  CONTAINER,
  GATEWAY,
  MACHINE,
  NEIGHBOUR,
  openRelayLab,
  PORT,
  type RelayLab,
  WORLD,
} from '../support/relay-lab.js';

let lab: RelayLab;
const families = [0, 1] as const;
/** Publishes the container's port at the machine's, with the families of both. */
async function publish(): Promise<void> {
  let id = 1;
  for (const protocol of ['tcp', 'udp'] as const)
    for (const at of families) {
      await lab.gateway.relay.publish(id, protocol, ['0.0.0.0', '::'][at]!, PORT);
      lab.gateway.relay.target(id++, CONTAINER[at], PORT);
    }
}

beforeAll(async () => {
  lab = await openRelayLab();
  await publish();
});
afterAll(() => lab.close());

const REFUSED = { error: 'Connection refused' };

describe.each(families)('published ports, family %i', (at) => {
  it('show the container who its client is', async () => {
    expect(await lab.peer('world', 'ask', MACHINE[at], PORT, 'who')).toEqual({ said: WORLD[at] });
    expect(await lab.peer('world', 'datagram', MACHINE[at], PORT, 3)).toEqual({
      said: [0, 1, 2].map((number) => `${number} ${WORLD[at]}`),
    });
    expect(await lab.peer('machine', 'ask', MACHINE[at], PORT, 'who')).toEqual({ said: MACHINE[at] });
    // An address that means something only on the machine cannot be answered: the gateway stands in.
    expect(await lab.peer('machine', 'ask', ['127.0.0.1', '::1'][at]!, PORT, 'who')).toEqual({ said: GATEWAY[at] });
    expect(await lab.peer('machine', 'datagram', ['127.0.0.1', '::1'][at]!, PORT)).toEqual({
      said: [`0 ${GATEWAY[at]}`],
    });
  });

  it('are reached from a container by the machine’s address', async () => {
    expect(await lab.peer('container', 'ask', MACHINE[at], PORT, 'who')).toEqual({ said: MACHINE[at] });
    expect(await lab.peer('container', 'datagram', MACHINE[at], PORT)).toEqual({ said: [`0 ${MACHINE[at]}`] });
  });

  it('pass on ends, of one direction at a time', async () => {
    expect(await lab.peer('world', 'ask', MACHINE[at], PORT, 'count', 10_000_001)).toEqual({ said: '10000001' });
  });

  it('pass on resets, both ways', async () => {
    expect(await lab.peer('world', 'ask', MACHINE[at], PORT, 'reset 0')).toMatchObject({
      error: 'Connection reset by peer',
    });
    expect(await lab.peer('world', 'ask', MACHINE[at], PORT, 'reset 3')).toMatchObject({
      error: 'Connection reset by peer',
    });
    expect(await lab.peer('world', 'quit_', MACHINE[at], PORT)).toEqual({ said: 'Connection reset by peer' });
  });
});

describe('published ports', () => {
  it('carry many connections at a time', async () => {
    expect(await lab.peer('world', 'many', MACHINE[0], PORT, 1000)).toEqual({ said: 1000 });
  });

  it('hold little of what a slow reader does not take', async () => {
    const { said } = await lab.peer('world', 'slow', MACHINE[0], PORT);
    expect(said).toBeGreaterThan(100_000);
    expect(said).toBeLessThan(40_000_000);
  });

  it('carry a gigabyte without losing or keeping any of it', async () => {
    const { said } = await lab.peer('world', 'fetch', MACHINE[0], PORT, 2 ** 30);
    expect(said).toBe(2 ** 30);
    const [, kilobytes] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${lab.relayPid()}/status`, 'utf8'))!;
    expect(Number(kilobytes)).toBeLessThan(20_000);
  });

  it('reset a client whose container does not listen', async () => {
    const { relay } = lab.gateway;
    const port = await relay.publish(100, 'tcp', '0.0.0.0', 0);
    relay.target(100, CONTAINER[0], 1);
    expect((await lab.peer('world', 'ask', MACHINE[0], port, 'who')).error).toMatch(/reset|refused|Broken pipe/);
    relay.close(100);
    await expect.poll(() => lab.peer('world', 'ask', MACHINE[0], port, 'who')).toEqual(REFUSED);
  });
});

describe.each(families)('the world outside, family %i', (at) => {
  it('is reached, with the machine’s address', async () => {
    expect(await lab.peer('container', 'ask', WORLD[at], PORT, 'who')).toEqual({ said: MACHINE[at] });
    expect(await lab.peer('container', 'ask', WORLD[at], PORT, 'count', 3_000_000)).toEqual({ said: '3000000' });
    expect(await lab.peer('container', 'datagram', WORLD[at], PORT, 3)).toEqual({
      said: [0, 1, 2].map((number) => `${number} ${MACHINE[at]}`),
    });
    expect(await lab.peer('container', 'ping', WORLD[at])).toEqual({ said: 56 });
    // In several packets.
    expect(await lab.peer('container', 'ping', WORLD[at], 4000)).toEqual({ said: 4000 });
  });

  it('refuses what the other side refuses, and nobody else is there either', async () => {
    expect(await lab.peer('container', 'ask', WORLD[at], 1, 'who')).toEqual(REFUSED);
    expect(await lab.peer('container', 'datagram', WORLD[at], 1)).toEqual(REFUSED);
    expect(await lab.peer('container', 'ask', ['203.0.113.9', '2001:db8::9'][at]!, 80, 'who')).toEqual({
      error: 'No route to host',
    });
    // It is on the machine's own network, and does not exist.
    expect(await lab.peer('container', 'ask', ['198.51.100.77', 'fd51::77'][at]!, 80, 'who')).toEqual({
      error: 'No route to host',
    });
  });

  it('does not include the machine, its loopback, or another network', async () => {
    const server = lab.peer('machine', 'ask', MACHINE[at], PORT, 'who');
    expect(await server).toEqual({ said: MACHINE[at] });
    const own = ['127.0.0.1', '::1'][at]!;
    const port = await lab.gateway.relay.publish(200 + at, 'tcp', own, 0);
    lab.gateway.relay.target(200 + at, CONTAINER[at], PORT);
    // Published on the loopback only: from the container, neither the machine's address nor the gateway's leads there.
    expect(await lab.peer('machine', 'ask', own, port, 'who')).toEqual({ said: GATEWAY[at] });
    expect(await lab.peer('container', 'ask', MACHINE[at], port, 'who')).toEqual(REFUSED);
    expect(await lab.peer('container', 'datagram', MACHINE[at], 1)).toMatchObject({ error: expect.any(String) });
    expect((await lab.peer('container', 'ask', GATEWAY[at], port, 'who')).error).toBeDefined();
    expect((await lab.peer('container', 'datagram', NEIGHBOUR[at], PORT)).error).toBeDefined();
    lab.gateway.relay.close(200 + at);
    // A network without a way out.
    expect((await lab.peer('neighbour', 'datagram', WORLD[at], PORT)).error).toBeDefined();
    expect((await lab.peer('neighbour', 'ping', WORLD[at])).error).toBeDefined();
  });
});

describe('forwards', () => {
  it('lead from the gateway’s address to one outside', async () => {
    const { relay } = lab.gateway;
    const outer = { address: WORLD[0], port: PORT };
    const port = await relay.forward(300, 'tcp', { address: GATEWAY[0], port: 0 }, outer);
    await relay.forward(301, 'udp', { address: GATEWAY[0], port }, outer);
    expect(await lab.peer('container', 'ask', GATEWAY[0], port, 'who')).toEqual({ said: MACHINE[0] });
    expect(await lab.peer('container', 'datagram', GATEWAY[0], port)).toEqual({ said: [`0 ${MACHINE[0]}`] });
    await expect(relay.forward(302, 'tcp', { address: GATEWAY[0], port }, outer)).rejects.toThrow(/EADDRINUSE/);
  });
});

describe('the relay itself', () => {
  it('counts what each container sends and receives', async () => {
    const of = async (): Promise<{ bytesIn: number; bytesOut: number; flows: number }> =>
      (await lab.gateway.relay.counters()).find(({ address }) => address === CONTAINER[0])!;
    const before = await of();
    await lab.peer('container', 'ask', WORLD[0], PORT, 'count', 1_000_000);
    await lab.peer('container', 'fetch', WORLD[0], PORT, 2_000_000);
    const after = await of();
    expect(after.bytesOut - before.bytesOut).toBeGreaterThanOrEqual(1_000_000);
    expect(after.bytesOut - before.bytesOut).toBeLessThan(1_001_000);
    expect(after.bytesIn - before.bytesIn).toBeGreaterThanOrEqual(2_000_000);
    expect(after.bytesIn - before.bytesIn).toBeLessThan(2_001_000);
    expect(after.flows - before.flows).toBe(2);
  });

  it('leaves the machine’s side without rules, routes or settings of its own', () => {
    expect(lab.run('machine', 'nft', 'list', 'ruleset')).toBe('');
    expect(lab.run('machine', 'ip', 'rule').match(/fwmark/)).toBeNull();
    expect(lab.run('machine', 'sysctl', '-n', 'net.ipv4.ip_forward').trim()).toBe(
      lab.run('world', 'sysctl', '-n', 'net.ipv4.ip_forward').trim(),
    );
  });

  it('is back at once when it is killed: what leaves needs nobody, ports are set up again', async () => {
    const before = lab.relayPid();
    process.kill(before, 'SIGKILL');
    await expect.poll(lab.again).toBe(1);
    expect(lab.relayPid()).not.toBe(before);
    expect(await lab.peer('container', 'ask', WORLD[0], PORT, 'who')).toEqual({ said: MACHINE[0] });
    await publish();
    expect(await lab.peer('world', 'ask', MACHINE[1], PORT, 'who')).toEqual({ said: WORLD[1] });
  });
});
