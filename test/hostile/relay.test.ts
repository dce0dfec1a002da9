/** The relay: real packets between network namespaces, without any virtual machine. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  BEYOND,
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

const ADDRESSES = [`${GATEWAY[0]}/24`, `${GATEWAY[1]}/64`, '172.31.0.1/24', 'fd31::1/64'];

const TIME_EXCEEDED = [11, 3] as const;
const UNREACHABLE = [3, 1] as const;

describe.each(families)('what the network says, family %i', (at) => {
  it('about packets that have passed enough routers: the gateway is the first', async () => {
    for (const kind of ['udp', 'tcp']) {
      expect(await lab.peer('container', 'way', BEYOND[at], 33_434, kind, 1)).toEqual({
        said: [GATEWAY[at], TIME_EXCEEDED[at]],
      });
      expect(await lab.peer('container', 'way', BEYOND[at], 33_434, kind, 2)).toEqual({
        said: [WORLD[at], TIME_EXCEEDED[at]],
      });
    }
    expect(await lab.peer('container', 'echo_way', BEYOND[at], 1)).toEqual({
      said: [GATEWAY[at], TIME_EXCEEDED[at], true],
    });
    expect(await lab.peer('container', 'echo_way', BEYOND[at], 2)).toEqual({
      said: [WORLD[at], TIME_EXCEEDED[at], true],
    });
    // A way that is short enough is no subject.
    expect(await lab.peer('container', 'ping', WORLD[at])).toEqual({ said: 56 });
    expect(await lab.peer('container', 'way', WORLD[at], 1, 'udp', 9)).toEqual({ said: [WORLD[at], UNREACHABLE[at]] });
  });

  it('is said to clients of a published port too', async () => {
    await lab.gateway.relay.publish(400 + at, 'udp', ['0.0.0.0', '::'][at]!, 7001);
    lab.gateway.relay.target(400 + at, CONTAINER[at], 1);
    expect(await lab.peer('world', 'datagram', MACHINE[at], 7001)).toEqual(REFUSED);
    lab.gateway.relay.close(400 + at);
  });
});

it('a datagram that is too large for the way is refused with the size that fits, unless it may be divided', async () => {
  expect(await lab.peer('container', 'too_large', BEYOND[0], 33_434, 1400, 0)).toEqual({
    said: [GATEWAY[0], 3, 4, 1300],
  });
  expect(await lab.peer('container', 'too_large', BEYOND[0], 33_435, 1400, 1)).toEqual({ said: [WORLD[0], 11, 0, 0] });
});

describe('limits', () => {
  it('refuse what is too much for one container at once, and leave room for others', async () => {
    const { relay } = lab.gateway;
    const directory = mkdtempSync(join(tmpdir(), 'caisson-crowd-'));
    const file = join(directory, 'stay');
    writeFileSync(file, '');
    const open = (): number => readdirSync(`/proc/${lab.relayPid()}/fd`).length;
    const before = open();
    const crowd = lab.peer('container', 'crowd', WORLD[0], PORT, 1400, file);
    await expect.poll(open, { timeout: 60_000 }).toBeGreaterThan(2300);
    const port = await relay.publish(500, 'tcp', '0.0.0.0', 0);
    relay.target(500, NEIGHBOUR[0], PORT);
    expect(await lab.peer('world', 'ask', MACHINE[0], port, 'who')).toEqual({ said: WORLD[0] });
    relay.close(500);
    rmSync(directory, { recursive: true });
    const [answered, failures] = (await crowd).said as [number, Record<string, number>];
    expect(answered).toBeGreaterThan(1000);
    expect(answered).toBeLessThan(1400);
    expect(failures).toEqual({ 'Connection refused': 1400 - answered });
    await expect.poll(open, { timeout: 60_000 }).toBeLessThan(before + 20);
  });
});

/** Bytes a second. */
const RATE = 500_000;
/** What 500,000 bytes take, without those that may pass at once: in s. */
const LEAST_S = 0.8;

describe('rates', () => {
  /** How long it takes, in s. A relay that limits nothing would take no time. */
  const seconds = async (step: () => Promise<unknown>): Promise<number> => {
    const began = performance.now();
    await step();
    return (performance.now() - began) / 1000;
  };
  const send = () => lab.peer('container', 'ask', WORLD[0], PORT, 'count', 500_000);
  const receive = () => lab.peer('container', 'fetch', WORLD[0], PORT, 500_000);
  const serve = () => lab.peer('world', 'fetch', MACHINE[0], PORT, 500_000);

  it('hold in both directions, for the way out and published ports, and nothing is lost', async () => {
    lab.gateway.rate(CONTAINER[0], RATE);
    const whole = await seconds(async () =>
      // The two directions do not take from each other.
      expect(await Promise.all([send(), receive()])).toEqual([{ said: '500000' }, { said: 500_000 }]),
    );
    expect(whole).toBeGreaterThan(LEAST_S);
    expect(await seconds(async () => expect(await serve()).toEqual({ said: 500_000 }))).toBeGreaterThan(LEAST_S);
    // Together no faster than alone.
    expect(await seconds(() => Promise.all([receive(), receive()]))).toBeGreaterThan(2 * LEAST_S);
  });

  it('drop datagrams that are too many', async () => {
    lab.gateway.rate(CONTAINER[0], 1000);
    const { said } = await lab.peer('container', 'burst', WORLD[0], PORT, 100, 1000);
    expect(said).toBeGreaterThan(0);
    expect(said).toBeLessThan(60);
    lab.gateway.rate(CONTAINER[0], 0);
  });

  it('of a network hold for each of its containers that has none of its own, also after the relay was killed', async () => {
    const card = { interface: 'eth0', addresses: [`${GATEWAY[0]}/24`, `${GATEWAY[1]}/64`], egress: true };
    await lab.gateway.network({ ...card, internal: false, mtu: 0, rate: RATE });
    expect(await seconds(receive)).toBeGreaterThan(LEAST_S);
    const [before] = [lab.again(), process.kill(lab.relayPid(), 'SIGKILL')];
    await expect.poll(lab.again, { timeout: 20_000 }).toBe(before + 1);
    await publish();
    expect(await seconds(receive)).toBeGreaterThan(LEAST_S);
    await lab.gateway.network({ ...card, internal: false, mtu: 0, rate: 0 });
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
    // Also what a relay has carried that is no more.
    const [killed] = [lab.again(), process.kill(lab.relayPid(), 'SIGKILL')];
    await expect.poll(lab.again, { timeout: 20_000 }).toBe(killed + 1);
    expect(await of()).toEqual(after);
    await lab.gateway.forget(CONTAINER[0]);
    expect(await of()).toBeUndefined();
    await publish();
  });

  it('knows as many networks as a gateway can have', async () => {
    const pid = lab.relayPid();
    const ranges = Array.from({ length: 256 }, (_, card) => [`10.${card}.0.1/16`, `fd99:${card}::1/64`]).flat();
    lab.gateway.relay.inside([...ranges, ...ADDRESSES]);
    expect(await lab.peer('container', 'way', BEYOND[0], 33_434, 'udp', 1)).toEqual({ said: [GATEWAY[0], 11] });
    expect(lab.relayPid()).toBe(pid);
    lab.gateway.relay.inside(ADDRESSES);
  });

  it('leaves the machine’s side without rules, routes or settings of its own', () => {
    expect(lab.run('machine', 'nft', 'list', 'ruleset')).toBe('');
    expect(lab.run('machine', 'ip', 'rule').match(/fwmark/)).toBeNull();
    expect(lab.run('machine', 'sysctl', '-n', 'net.ipv4.ip_forward').trim()).toBe(
      lab.run('container', 'sysctl', '-n', 'net.ipv4.ip_forward').trim(),
    );
  });

  it('is back at once when it is killed: what leaves needs nobody, ports are set up again', async () => {
    const [before, times] = [lab.relayPid(), lab.again()];
    process.kill(before, 'SIGKILL');
    await expect.poll(lab.again, { timeout: 20_000 }).toBe(times + 1);
    expect(lab.relayPid()).not.toBe(before);
    expect(await lab.peer('container', 'ask', WORLD[0], PORT, 'who')).toEqual({ said: MACHINE[0] });
    await publish();
    expect(await lab.peer('world', 'ask', MACHINE[1], PORT, 'who')).toEqual({ said: WORLD[1] });
  });
});
