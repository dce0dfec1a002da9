/** A policy at the gateway, with real packets between network namespaces; no VM, no relay: the gateway routes here. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileForGateway, type Learned } from '../../appliance/policy/compile.js';
import { ordered } from '../../appliance/policy/evaluate.js';
import { readPolicy } from '../../appliance/policy/read-policy.js';
import { readGatewayPolicy } from '../../src/common/policy/read-compiled.js';
import { gatewayText } from '../../src/hostd/switch/gateway-rules.js';
import { GatewayTable } from '../../src/porter/policy-table.js';
import { TestBridge, type TestHost } from '../support/namespaces.js';

const net = new TestBridge(`pog${process.pid}`);
const six = existsSync('/proc/sys/net/ipv6');
let [gateway, web, db]: TestHost[] = [];
let table: GatewayTable;

async function enforce(text: string, tier: 'project' | 'default' = 'project', learned: Learned[] = []): Promise<void> {
  const none = { rules: [] };
  const own = readPolicy(text, tier);
  const rules = ordered({ admin: none, project: none, default: none, [tier]: own }, ['203.0.113.53']);
  const subjects = [web!, db!].map((host, at) => ({
    id: host.name,
    name: ['web', 'db'][at]!,
    labels: { role: ['web', 'db'][at]! },
    networks: ['bridge'],
    macs: [host.mac],
    addresses: [host.address4, host.address6],
  }));
  await table.set(readGatewayPolicy(JSON.parse(JSON.stringify(compileForGateway(rules, subjects, learned)))));
}

beforeAll(async () => {
  net.open();
  [gateway, web, db] = [9, 1, 2].map((number) => net.host(number));
  // The outside: addresses of the gateway's namespace that are not on the containers' network.
  const ip = (...args: string[]): string => net.inside(gateway!.name, 'ip', ...args);
  for (const address of ['198.51.100.1', '198.51.100.2', '203.0.113.53', '10.9.9.9', '169.254.169.254'])
    ip('addr', 'add', `${address}/32`, 'dev', 'lo');
  if (six) ip('-6', 'addr', 'add', '2001:db8::1/128', 'dev', 'lo', 'nodad');
  for (const host of [web!, db!]) {
    net.inside(host.name, 'ip', 'route', 'add', 'default', 'via', gateway!.address4);
    if (six) net.inside(host.name, 'ip', '-6', 'route', 'add', 'default', 'via', gateway!.address6);
  }
  table = new GatewayTable(`/run/netns/${gateway!.name}`);
  await Promise.all([net.serve(gateway!.name, 53, 443, 80), net.serve(web!.name, 80), net.serve(db!.name, 80)]);
}, 60_000);
afterAll(() => net.close());

const tcp = (from: TestHost, host: string, port: number): Promise<string> => net.reach(from.name, 'tcp', host, port);

describe('a policy at the gateway', () => {
  test('balanced: no private ranges, no metadata addresses, but names', async () => {
    await enforce('preset: balanced', 'default');
    expect(
      await Promise.all([
        tcp(web!, '198.51.100.1', 443),
        tcp(web!, '10.9.9.9', 443),
        tcp(web!, '169.254.169.254', 80),
        tcp(web!, '203.0.113.53', 53),
        // The gateway's own names server; its other ports are private addresses.
        tcp(web!, gateway!.address4, 53),
        tcp(web!, gateway!.address4, 80),
        tcp(gateway!, web!.address4, 80),
      ]),
    ).toEqual(['ok', 'refused', 'refused', 'ok', 'ok', 'refused', 'ok']);
    if (six)
      expect([await tcp(web!, '2001:db8::1', 443), await tcp(web!, gateway!.address6, 80)]).toEqual(['ok', 'refused']);
  });

  test('ranges and directions', async () => {
    await enforce(`
rules:
  - { name: only-one, direction: out, select: { names: web }, peer: { cidrs: [198.51.100.1] }, ports: 443, action: allow }
  - { name: no-more, direction: out, select: { names: web }, peer: outside, action: drop }
  - { name: closed, direction: in, select: { names: db }, peer: outside, action: reject }
`);
    expect(
      await Promise.all([
        tcp(web!, '198.51.100.1', 443),
        tcp(web!, '198.51.100.1', 80),
        tcp(web!, '198.51.100.2', 443),
        tcp(db!, '198.51.100.2', 443),
        net.reach(web!.name, 'udp', '198.51.100.1', 80),
        tcp(gateway!, web!.address4, 80),
        tcp(gateway!, db!.address4, 80),
      ]),
    ).toEqual(['ok', 'silence', 'silence', 'ok', 'silence', 'ok', 'refused']);
    const counts = await table.counts();
    expect(counts.get('project/only-one')!.packets).toBe(1);
    expect(counts.get('project/no-more')!.packets).toBeGreaterThan(1);
  });

  test('names: the addresses that were answered, while they hold; an open connection stays', async () => {
    const text = `
rules:
  - { name: mirrors, direction: out, peer: { fqdns: ["*.example.org"] }, ports: 443, action: allow }
  - { name: nothing-else, direction: out, peer: outside, action: reject }
`;
    await enforce(text);
    expect(await tcp(web!, '198.51.100.2', 443)).toBe('refused');
    await enforce(text, 'project', [{ address: '198.51.100.2', names: ['deb.example.org'], seconds: 2 }]);
    expect([await tcp(web!, '198.51.100.2', 443), await tcp(web!, '198.51.100.1', 443)]).toEqual(['ok', 'refused']);
    const script = `const s = require('node:net').connect({ host: '198.51.100.2', port: 443 });
      let said = 0; s.on('data', () => console.log(++said)); setInterval(() => s.write('x'), 50); s.on('error', () => {});`;
    await enforce(text, 'project', [{ address: '198.51.100.2', names: ['deb.example.org'], seconds: 2 }]);
    const child = net.start(web!.name, process.execPath, '-e', script);
    let last = 0;
    child.stdout!.on('data', (part: Buffer) => {
      last = Number(part.toString().trim().split('\n').at(-1));
    });
    await expect.poll(() => last).toBeGreaterThan(0);
    await expect.poll(() => tcp(web!, '198.51.100.2', 443), { interval: 300 }).toBe('refused');
    const before = last;
    await expect.poll(() => last).toBeGreaterThan(before + 3);
    child.kill('SIGKILL');
  });

  test('a container that it does not know gets nowhere', async () => {
    const late = net.host(5);
    net.inside(late.name, 'ip', 'route', 'add', 'default', 'via', gateway!.address4);
    await enforce('rules: [{ name: a, direction: out, ports: 1, action: drop }]');
    expect([await tcp(late, '198.51.100.1', 443), await tcp(web!, '198.51.100.1', 443)]).toEqual(['silence', 'ok']);
    await table.set(null);
    expect(await tcp(late, '198.51.100.1', 443)).toBe('ok');
  });

  // The last one: with hostd's rules the outside is no longer there.
  test('locked: only the server of names is left, which hostd keeps out of connection tracking', async () => {
    execFileSync('nsenter', [`--net=/run/netns/${gateway!.name}`, '--', 'nft', '-f', '-'], { input: gatewayText() });
    await enforce('preset: locked', 'default');
    expect(
      await Promise.all([
        tcp(web!, gateway!.address4, 53),
        net.reach(web!.name, 'udp', gateway!.address4, 53),
        tcp(gateway!, web!.address4, 80),
      ]),
    ).toEqual(['ok', 'ok', 'refused']);
    expect(net.pings(web!.name, gateway!.address4)).toBe(true);
    if (six) expect(await net.reach(web!.name, 'udp', gateway!.address6, 53)).toBe('ok');
  });
});
