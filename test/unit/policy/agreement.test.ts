/** The compiled form of a policy and the evaluator agree, about any policy and any flow. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileForGateway, compileForSwitch } from '../../../appliance/policy/compile.js';
import { evaluate, ordered } from '../../../appliance/policy/evaluate.js';
import { lookupsOf } from '../../../appliance/policy/lookups.js';
import { type Flow, isNamed, type Party, type Subject } from '../../../appliance/policy/parties.js';
import { rangeOf } from '../../../appliance/policy/ranges.js';
import {
  type Peer,
  type Policy,
  type Ports,
  PRESETS,
  type Rule,
  type Selector,
  type Tier,
} from '../../../appliance/policy/rules.js';
import type { CompiledPolicy, GatewayPolicy, Group } from '../../../src/common/policy/compiled.js';

const labels = fc.dictionary(fc.constantFrom('role', 'team'), fc.constantFrom('a', 'b', 'ab'), { maxKeys: 2 });
const selector: fc.Arbitrary<Selector> = fc.record(
  {
    labels: fc.dictionary(fc.constantFrom('role', 'team'), fc.constantFrom('a', 'b', 'a*', '*'), { maxKeys: 2 }),
    names: fc.array(fc.constantFrom('c0', 'c1', 'c?', '*3'), { minLength: 1, maxLength: 2 }),
    networks: fc.array(fc.constantFrom('front', 'back', 'f*'), { minLength: 1, maxLength: 2 }),
  },
  { requiredKeys: [] },
);
const ADDRESSES = [
  '1.2.3.4',
  '10.0.0.1',
  '10.1.255.255',
  '10.2.0.0',
  '192.168.7.7',
  '2001:db8::1',
  'fd00::5',
  '::',
  '255.255.255.255',
];
const CIDRS = [
  '10.0.0.0/8',
  '10.1.0.0/16',
  '10.1.255.255',
  '0.0.0.0/0',
  'fd00::/8',
  '::/0',
  '2001:db8::/64',
  '128.0.0.0/1',
];
const peer: fc.Arbitrary<Peer> = fc.oneof(
  fc.constant<Peer>({ kind: 'any' }),
  fc.constant<Peer>({ kind: 'outside' }),
  selector.map((one): Peer => ({ kind: 'containers', selector: one })),
  fc.subarray(CIDRS, { minLength: 1 }).map((cidrs): Peer => ({ kind: 'ranges', cidrs })),
  fc
    .subarray(['*.example.org', 'a.example.org', 'example.net'], { minLength: 1 })
    .map((fqdns): Peer => ({ kind: 'names', fqdns })),
);
const ports: fc.Arbitrary<Ports> = fc.oneof(
  fc.constant<Ports>({ protocol: 'icmp', first: 0, last: 65535 }),
  fc
    .record({
      protocol: fc.constantFrom('tcp' as const, 'udp' as const),
      a: fc.constantFrom(0, 1, 79, 80, 81, 5000, 65535),
      b: fc.constantFrom(0, 80, 90, 65535),
    })
    .map(({ protocol, a, b }): Ports => ({ protocol, first: Math.min(a, b), last: Math.max(a, b) })),
);
const rule = fc.record({
  direction: fc.constantFrom('in' as const, 'out' as const),
  select: selector,
  peers: fc.array(peer, { minLength: 1, maxLength: 2 }),
  ports: fc.option(fc.array(ports, { minLength: 1, maxLength: 3 })),
  action: fc.constantFrom('allow' as const, 'drop' as const, 'reject' as const, 'pass' as const),
  priority: fc.constantFrom(0, 10, 1000),
  log: fc.boolean(),
});
const tier = (name: Tier): fc.Arbitrary<Rule[]> =>
  fc.array(rule, { maxLength: 6 }).map((all) => all.map((one, at) => ({ ...one, id: `${name}/${at}` })));
const policy: fc.Arbitrary<Policy> = fc
  .record({ admin: tier('admin'), project: tier('project'), own: tier('default'), preset: fc.constantFrom(...PRESETS) })
  .map(({ admin, project, own, preset }) => ({
    admin: { rules: admin },
    project: { rules: project },
    default: { rules: own, preset },
  }));
const subjects: fc.Arbitrary<Subject[]> = fc
  .array(fc.record({ labels, networks: fc.subarray(['front', 'back']) }), { minLength: 1, maxLength: 6 })
  .map((all) =>
    all.map((one, at) => ({
      ...one,
      id: `${at}`,
      name: `c${at}`,
      macs: [`02:00:00:00:00:0${at}`],
      addresses: [`172.16.0.${at + 2}`, `fd12::${at + 2}`],
    })),
  );
const LEARNED = [
  { address: '1.2.3.4', names: ['a.example.org'], seconds: 60 },
  { address: '192.168.7.7', names: ['x.y.example.org', 'example.net'], seconds: 60 },
];

/** What nftables finds in the tables. */
function lookUp(compiled: CompiledPolicy, from: Group, to: Group, { protocol, port }: Flow): string {
  const found = compiled.pairs.find(([a, b]) => a === from && b === to)?.[2] ?? compiled.usual;
  const profile = compiled.profiles[found]!;
  const number =
    protocol === 'tcp' || protocol === 'udp'
      ? profile[protocol].filter(([first, last]) => first <= port && port <= last).map(([, , one]) => one)
      : [profile[protocol]];
  expect(number).toHaveLength(1);
  const { id, action } = compiled.rules[number[0]!]!;
  return `${action} by ${id}`;
}

function gatewayGroup(compiled: GatewayPolicy, party: Party): Group {
  if (party.kind === 'container')
    return compiled.containers.find(([address]) => address === party.subject.addresses[0])![1];
  const learned = compiled.learned.find(([address]) => address === party.address);
  if (learned !== undefined) return learned[1];
  const { family, first } = rangeOf(party.address);
  const found = compiled.outside.filter(([from, to]) => {
    const low = rangeOf(from);
    return low.family === family && low.first <= first && first <= rangeOf(to).first;
  });
  expect(found).toHaveLength(1);
  return found[0]![2];
}

const protocol = fc.constantFrom('tcp' as const, 'udp' as const, 'icmp' as const, 'other' as const);
const port = fc.constantFrom(0, 1, 79, 80, 81, 90, 91, 4999, 5000, 65534, 65535);

test('between containers, on the switch', () => {
  fc.assert(
    fc.property(policy, subjects, fc.nat(), fc.nat(), protocol, port, (given, all, a, b, kind, number) => {
      const rules = ordered(given, ['192.168.7.7']);
      const [from, to] = [all[a % all.length]!, all[b % all.length]!];
      const flow: Flow = {
        from: { kind: 'container', subject: from },
        to: { kind: 'container', subject: to },
        protocol: kind,
        port: kind === 'tcp' || kind === 'udp' ? number : 0,
      };
      const compiled = compileForSwitch(rules, all);
      const verdict = evaluate(rules, flow);
      expect(lookUp(compiled, compiled.cards[from.macs[0]!]!, compiled.cards[to.macs[0]!]!, flow)).toBe(
        `${verdict.action} by ${verdict.rule.id}`,
      );
    }),
    { numRuns: 400 },
  );
});

test('between containers and the outside, at the gateway', () => {
  fc.assert(
    fc.property(
      policy,
      subjects,
      fc.nat(),
      fc.constantFrom(...ADDRESSES),
      fc.boolean(),
      protocol,
      port,
      (given, all, a, address, out, kind, number) => {
        const rules = ordered(given, ['192.168.7.7']);
        const inside: Party = { kind: 'container', subject: all[a % all.length]! };
        const outside: Party = {
          kind: 'outside',
          address,
          names: LEARNED.find((one) => one.address === address)?.names ?? [],
        };
        const [from, to] = out ? [inside, outside] : [outside, inside];
        const flow: Flow = { from, to, protocol: kind, port: kind === 'tcp' || kind === 'udp' ? number : 0 };
        const compiled = compileForGateway(rules, all, LEARNED);
        const verdict = evaluate(rules, flow);
        expect(lookUp(compiled, gatewayGroup(compiled, from), gatewayGroup(compiled, to), flow)).toBe(
          `${verdict.action} by ${verdict.rule.id}`,
        );
      },
    ),
    { numRuns: 400 },
  );
});

test('who may not look up a name reaches nothing outside that is in no range and has only that name', () => {
  fc.assert(
    fc.property(
      policy,
      subjects,
      protocol,
      port,
      fc.constantFrom('2.2.2.2', '2222::2'),
      (given, all, kind, number, address) => {
        const rules = ordered(given);
        const subject = all[0]!;
        const lookups = lookupsOf(rules, subject);
        for (const name of ['a.example.org', 'example.net', 'example.com']) {
          if (lookups === null || lookups.some((pattern) => isNamed(pattern, name))) continue;
          const flow: Flow = {
            from: { kind: 'container', subject },
            // In none of the ranges but those of everything.
            to: { kind: 'outside', address, names: [name] },
            protocol: kind,
            port: kind === 'tcp' || kind === 'udp' ? number : 0,
          };
          expect(evaluate(rules, flow).action).not.toBe('allow');
        }
      },
    ),
    { numRuns: 1000 },
  );
});

test('a thousand containers of ten kinds and 500 rules come to few groups', () => {
  const kinds = Array.from({ length: 10 }, (_, at) => `k${at}`);
  const rules = ordered({
    admin: { rules: [] },
    default: { rules: [], preset: 'locked' },
    project: {
      rules: Array.from(
        { length: 500 },
        (_, at): Rule => ({
          id: `project/${at}`,
          direction: 'in',
          select: { labels: { kind: kinds[at % 10]! } },
          peers: [{ kind: 'containers', selector: { labels: { kind: kinds[(at * 7) % 10]! } } }],
          ports: [{ protocol: 'tcp', first: at, last: at }],
          action: 'allow',
          priority: 1000,
          log: false,
        }),
      ),
    },
  });
  const all = Array.from(
    { length: 1000 },
    (_, at): Subject => ({
      id: `${at}`,
      name: `c${at}`,
      labels: { kind: kinds[at % 10]! },
      networks: ['bridge'],
      macs: [`m${at}`],
      addresses: [],
    }),
  );
  const compiled = compileForSwitch(rules, all);
  expect(new Set(Object.values(compiled.cards)).size).toBe(10);
  expect(compiled.pairs.length).toBeLessThanOrEqual(100);
  expect(Object.keys(compiled.cards)).toHaveLength(1000);
});
