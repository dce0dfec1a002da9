/** A policy on the switch, with real packets between network namespaces; no VM. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileForGateway, compileForSwitch } from '../../appliance/policy/compile.js';
import { evaluate, ordered } from '../../appliance/policy/evaluate.js';
import type { Subject } from '../../appliance/policy/parties.js';
import { readPolicy } from '../../appliance/policy/read-policy.js';
import { PolicyLog } from '../../src/common/policy/policy-log.js';
import { readGatewayPolicy, readSwitchPolicy } from '../../src/common/policy/read-compiled.js';
import { gatewayText } from '../../src/hostd/switch/gateway-rules.js';
import { PolicyTables } from '../../src/hostd/switch/policy-tables.js';
import { GatewayTable } from '../../src/porter/policy-table.js';
import { TestBridge, type TestHost } from '../support/namespaces.js';

const VCH = '0123456789abcdef0123456789abcdef';
const net = new TestBridge(`pol${process.pid}`);
const six = existsSync('/proc/sys/net/ipv6');
let [gateway, web, api, db]: TestHost[] = [];
let tables: PolicyTables;
const logged: string[] = [];

const subject = (host: TestHost, role: string): Subject => ({
  id: host.name,
  name: role,
  labels: { role },
  networks: ['bridge'],
  macs: [host.mac],
  addresses: [host.address4, host.address6],
});

const rulesOf = (text: string) =>
  ordered({ admin: { rules: [] }, project: readPolicy(text, 'project'), default: { rules: [] } });
const FLOW = { protocol: 'tcp', port: 81 } as const;
const parties = () =>
  (
    [
      ['web', web!],
      ['api', api!],
      ['db', db!],
    ] as const
  ).map(([role, host]) => ({
    host,
    party: { kind: 'container' as const, subject: subject(host, role) },
  }));

/** Puts a project's policy into force, over the preset `open`. */
async function enforce(
  text: string,
  subjects = [subject(web!, 'web'), subject(api!, 'api'), subject(db!, 'db')],
): Promise<void> {
  const rules = rulesOf(text);
  // As it comes over vim25.
  await tables.set(VCH, readSwitchPolicy(JSON.parse(JSON.stringify(compileForSwitch(rules, subjects)))));
}

const port = (host: TestHost) => ({
  name: host.port,
  nic: { mac: host.mac, vch: VCH, addresses: undefined, portGroup: 'net' },
});
const tcp = (from: TestHost, to: TestHost, number: number): Promise<string> =>
  net.reach(from.name, 'tcp', to.address4, number);
const udp = (from: TestHost, to: TestHost, number: number, source?: number): Promise<string> =>
  net.reach(from.name, 'udp', to.address4, number, source);

const ONLY_API = `
rules:
  - { name: api-to-db, direction: in, select: { labels: { role: db } }, peer: { labels: { role: api } }, ports: [tcp/80, udp/53], action: allow }
  - { name: db-alone, direction: in, select: { labels: { role: db } }, action: drop }
`;

beforeAll(async () => {
  net.open();
  [gateway, web, api, db] = [9, 1, 2, 3].map((number) => net.host(number));
  tables = new PolicyTables(net.path, new PolicyLog(net.path, ({ id }, packet) => logged.push(`${id}: ${packet}`)));
  await tables.addGateway([port(gateway!)]);
  await tables.add([web!, api!, db!].map(port));
  // As hostd and the porter have it, but with the ports that the tests use.
  const rules = `${gatewayText()}\nadd element inet caisson_gateway tcp_services { 80 }`;
  execFileSync('nsenter', [`--net=/run/netns/${gateway!.name}`, '--', 'nft', '-f', '-'], { input: rules });
  await Promise.all([gateway!, web!, api!, db!].map(({ name }) => net.serve(name, 53, 80, 81)));
}, 60_000);
afterAll(async () => {
  tables.close();
  await net.close();
});

describe('a policy on the switch', () => {
  test('lets through what it allows and nothing else, over TCP, UDP and ICMP, IPv4 and IPv6', async () => {
    expect(await tcp(web!, db!, 80)).toBe('ok');
    await enforce(ONLY_API);
    expect(await Promise.all([tcp(api!, db!, 80), tcp(api!, db!, 81), tcp(web!, db!, 80)])).toEqual([
      'ok',
      'silence',
      'silence',
    ]);
    expect(await Promise.all([udp(api!, db!, 53), udp(api!, db!, 80), udp(web!, db!, 53)])).toEqual([
      'ok',
      'silence',
      'silence',
    ]);
    // Answers to what the others' own rules allow.
    expect(await Promise.all([tcp(db!, web!, 80), udp(db!, web!, 53), tcp(web!, api!, 81)])).toEqual([
      'ok',
      'ok',
      'ok',
    ]);
    expect([net.pings(api!.name, db!.address4), net.pings(db!.name, web!.address4)]).toEqual([false, true]);
    if (six) {
      expect(await net.reach(api!.name, 'tcp', db!.address6, 80)).toBe('ok');
      expect(await net.reach(web!.name, 'tcp', db!.address6, 80)).toBe('silence');
      expect(await net.reach(api!.name, 'udp', db!.address6, 53)).toBe('ok');
      expect(await net.reach(web!.name, 'udp', db!.address6, 53)).toBe('silence');
    }
  });

  test('leaves the gateway to itself', async () => {
    expect(await Promise.all([tcp(web!, gateway!, 80), tcp(gateway!, db!, 81), udp(gateway!, db!, 53)])).toEqual([
      'ok',
      'ok',
      'ok',
    ]);
  });

  test('answers what it rejects at once, whatever the gateway allows', async () => {
    const text = 'rules: [{ name: no, direction: in, select: { names: db }, peer: { names: "*" }, action: reject }]';
    await enforce(text);
    // Only a connected socket is told.
    const told = (host: TestHost): string =>
      net.inside(
        web!.name,
        'perl',
        '-e',
        `use Socket; socket(S,PF_INET,SOCK_DGRAM,0); connect(S,sockaddr_in(53,inet_aton("${host.address4}"))); send(S,"x",0); $r=""; vec($r,fileno(S),1)=1; if (select($r,undef,undef,3)) { print defined recv(S,$_,9,0) ? "ok" : $!{EHOSTUNREACH} ? "refused" : "$!" } else { print "silence" }`,
      );
    expect([await tcp(web!, db!, 80), told(db!), await tcp(db!, web!, 80), told(api!)]).toEqual([
      'refused',
      'refused',
      'ok',
      'ok',
    ]);
    if (six) expect(await net.reach(web!.name, 'tcp', db!.address6, 80)).toBe('refused');
    // A policy at the gateway has nothing to say about what the gateway answers.
    const drops = rulesOf('rules: [{ name: none, direction: in, action: drop }]');
    const subjects = [subject(web!, 'web'), subject(db!, 'db')];
    const atGateway = new GatewayTable(`/run/netns/${gateway!.name}`);
    await atGateway.set(readGatewayPolicy(JSON.parse(JSON.stringify(compileForGateway(drops, subjects)))));
    expect([await tcp(web!, db!, 80), told(db!)]).toEqual(['refused', 'refused']);
    await atGateway.set(null);
    atGateway.close();
  });

  test('does not take the answers of one service for permission to use another', async () => {
    await enforce(`
rules:
  - { name: web-to-db, direction: in, select: { names: db }, peer: { names: web }, ports: [udp/54-55, tcp/80], action: allow }
  - { name: not-back, direction: in, select: { names: web }, peer: { names: db }, action: drop }
`);
    await net.serve(db!.name, 54);
    expect(await udp(web!, db!, 54)).toBe('ok');
    // Unasked, from the very port whose answers pass.
    const perl = `use Socket; socket(S,PF_INET,SOCK_DGRAM,0); setsockopt(S,SOL_SOCKET,SO_REUSEADDR,1); bind(S,sockaddr_in(55,INADDR_ANY)) or die; send(S,"x",0,sockaddr_in(81,inet_aton("${web!.address4}"))); $r=""; vec($r,fileno(S),1)=1; print select($r,undef,undef,1) ? "answer" : "silence"`;
    expect(net.inside(db!.name, 'perl', '-e', perl)).toBe('silence');
    expect(await tcp(db!, web!, 81)).toBe('silence');
  });

  test('holds for broadcasts and multicasts too', async () => {
    const hears = async (): Promise<string> => {
      const listen = `use Socket; socket(S,PF_INET,SOCK_DGRAM,0); bind(S,sockaddr_in(7777,INADDR_ANY)) or die; $|=1; print "r"; $r=""; vec($r,fileno(S),1)=1; print select($r,undef,undef,1.5) ? "heard" : "silence"`;
      const child = net.start(db!.name, 'perl', '-e', listen);
      let text = '';
      child.stdout!.on('data', (part: Buffer) => (text += part));
      await new Promise<void>((resolve) => child.stdout!.once('data', () => resolve()));
      net.inside(
        web!.name,
        'perl',
        '-e',
        'use Socket; socket(S,PF_INET,SOCK_DGRAM,0); setsockopt(S,SOL_SOCKET,SO_BROADCAST,1); send(S,"x",0,sockaddr_in(7777,inet_aton("172.31.0.255")))',
      );
      await new Promise((resolve) => child.once('close', resolve));
      return text.slice(1);
    };
    await enforce('');
    expect(await hears()).toBe('heard');
    await enforce(ONLY_API);
    expect(await hears()).toBe('silence');
  });

  test('changes without a flow that it goes on allowing being cut, and ends those that it no longer allows', async () => {
    await enforce(ONLY_API);
    const script = `const s = require('node:net').connect({ host: '${db!.address4}', port: 80 });
      let said = 0; s.on('data', () => console.log(++said)); setInterval(() => s.write('x'), 20); s.on('error', () => {});`;
    const child = net.start(api!.name, process.execPath, '-e', script);
    let last = 0;
    child.stdout!.on('data', (part: Buffer) => {
      last = Number(part.toString().trim().split('\n').at(-1));
    });
    await expect.poll(() => last).toBeGreaterThan(5);
    for (let round = 0; round < 10; round++)
      await enforce(
        `${ONLY_API}  - { name: more-${round}, direction: in, ports: ${round + 1000}, action: drop, priority: 1 }\n`,
      );
    const before = last;
    await expect.poll(() => last).toBeGreaterThan(before + 5);
    // Both ways: what the other side may open could have been opened by it.
    await enforce(
      'rules: [{ name: db-in, direction: in, select: { names: db }, action: drop }, { name: db-out, direction: out, select: { names: db }, action: drop }]',
    );
    // What it had received before may still be on its way to us.
    const received = async (): Promise<number> => {
      const before = last;
      await new Promise((resolve) => setTimeout(resolve, 500));
      return last - before;
    };
    await expect.poll(received).toBe(0);
    child.kill('SIGKILL');
  });

  test('counts by rule, and goes on counting when it changes', async () => {
    await tables.set(VCH, null);
    await enforce(ONLY_API);
    await tcp(api!, db!, 80);
    await tcp(web!, db!, 80);
    const counts = async (id: string): Promise<number> => (await tables.counts(VCH))!.get(id)!.packets;
    const [allowed, dropped] = [await counts('project/api-to-db'), await counts('project/db-alone')];
    expect(allowed).toBeGreaterThan(1);
    expect(dropped).toBeGreaterThan(0);
    await enforce(`${ONLY_API}  - { name: more, direction: in, action: drop, ports: 9, priority: 1 }\n`);
    expect(await counts('project/api-to-db')).toBe(allowed);
  });

  test('logs the packets of a rule that asks for it, and no others', async () => {
    await enforce(ONLY_API.replace('action: drop }', 'action: drop, log: true }'));
    await expect
      .poll(async () => {
        await tcp(web!, db!, 80);
        return logged.length;
      })
      .toBeGreaterThan(0);
    await tcp(api!, db!, 80);
    for (const line of logged) expect(line).toMatch(/^project\/db-alone: .*ip saddr 172\.31\.0\.1 .*dport 80/);
    await enforce(ONLY_API);
  });

  test('cuts off a card that it does not know yet, until it does', async () => {
    const late = net.host(4);
    await net.serve(late.name, 80);
    await enforce('');
    await tables.add([port(late)]);
    expect(await Promise.all([tcp(late, web!, 80), tcp(web!, late, 80), tcp(late, gateway!, 80)])).toEqual([
      'silence',
      'silence',
      'ok',
    ]);
    await enforce('', [...[web!, api!, db!].map((one) => subject(one, 'any')), subject(late, 'late')]);
    expect(await Promise.all([tcp(late, web!, 80), tcp(web!, late, 80)])).toEqual(['ok', 'ok']);
  });

  test('a packet that is sent on behalf of a container takes its way and names the rule', async () => {
    await enforce(ONLY_API);
    const send = (from: TestHost, to: TestHost | null, protocol: 'tcp' | 'udp' | 'icmp', number: number, six = false) =>
      tables.probe(VCH, {
        fromMac: from.mac,
        toMac: to?.mac ?? 'gateway',
        packet: {
          protocol,
          from: six ? from.address6 : from.address4,
          to: six ? (to ?? gateway!).address6 : (to ?? gateway!).address4,
          sourcePort: 40_000,
          port: number,
        },
      });
    const rule = (number: number | undefined): string | undefined =>
      number === undefined ? undefined : (tables.policyOf(VCH)?.rules[number]?.id ?? '?');
    const passed = await send(api!, db!, 'tcp', 80);
    expect([passed.delivered, rule(passed.rule)]).toEqual([true, 'project/api-to-db']);
    const dropped = await send(web!, db!, 'udp', 53, six);
    expect([dropped.delivered, rule(dropped.rule)]).toEqual([false, 'project/db-alone']);
    expect(dropped.droppedIn).toMatch(/^bridge caisson_policy_\S+ r\d+$/);
    const icmp = await send(web!, api!, 'icmp', 1, six);
    expect([icmp.delivered, rule(icmp.rule)]).toEqual([true, 'preset/open-out']);
    const out = await send(web!, null, 'tcp', 443);
    expect([out.delivered, out.rule]).toEqual([true, undefined]);
    // What the rules say of each pair, and what becomes of a packet.
    const all = parties();
    for (const from of all)
      for (const to of all) {
        if (from === to) continue;
        const [flow, sent] = [{ ...FLOW, from: from.party, to: to.party }, await send(from.host, to.host, 'tcp', 81)];
        const verdict = evaluate(rulesOf(ONLY_API), flow);
        expect([sent.delivered, rule(sent.rule)]).toEqual([verdict.action === 'allow', verdict.rule.id]);
      }
  });

  test('an answer that is sent on behalf of a container comes back where the rules allow what it answers', async () => {
    await enforce(`
rules:
  - { name: web-to-db, direction: in, select: { names: db }, peer: { names: web }, ports: [tcp/80, udp/53], action: allow }
  - { name: not-back, direction: in, select: { names: web }, peer: { names: db }, action: drop }
`);
    const send = async (protocol: 'tcp' | 'udp', source: number, number: number, answer?: boolean) => {
      const packet = { protocol, from: db!.address4, to: web!.address4, sourcePort: source, port: number, answer };
      return (await tables.probe(VCH, { fromMac: db!.mac, toMac: web!.mac, packet })).delivered;
    };
    expect([await send('tcp', 80, 40_000, true), await send('tcp', 80, 40_000)]).toEqual([true, false]);
    const ask = { protocol: 'udp', from: web!.address4, to: db!.address4, sourcePort: 40_001, port: 53 } as const;
    expect(await send('udp', 53, 40_001, true)).toBe(false);
    await tables.probe(VCH, { fromMac: web!.mac, toMac: db!.mac, packet: ask });
    expect(await send('udp', 53, 40_001, true)).toBe(true);
    const outside = { ...ask, from: '198.51.100.1', to: web!.address4, answer: true };
    expect((await tables.probe(VCH, { fromMac: 'gateway', toMac: web!.mac, packet: outside })).delivered).toBe(true);
    // Nothing is left of them.
    expect(net.inside(net.namespace, 'ip', '-o', 'link')).not.toMatch(/ tq/);
    expect(net.inside(net.namespace, 'nft', 'list', 'ruleset')).not.toMatch(/"tq/);
  });

  test('is taken over by the next hostd, and goes when nobody wants it', async () => {
    await enforce(ONLY_API);
    const next = new PolicyTables(net.path);
    await next.add([web!, api!, db!].map(port));
    await next.keep([VCH]);
    expect(await tcp(web!, db!, 80)).toBe('silence');
    tables.close();
    tables = next;
    await enforce('');
    expect(await tcp(web!, db!, 80)).toBe('ok');
    await enforce(ONLY_API);
    await next.keep([]);
    expect(await tcp(web!, db!, 80)).toBe('ok');
  });
});
