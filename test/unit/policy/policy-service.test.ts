/** What a policy tells those that enforce it, with all of them made up: outside names, and what is kept over a restart. */
import { expect, it } from 'vitest';
import { ordered } from '../../../appliance/policy/evaluate.js';
import { LearnedNames } from '../../../appliance/policy/learned-names.js';
import { lookupsOf } from '../../../appliance/policy/lookups.js';
import type { Subject } from '../../../appliance/policy/parties.js';
import { type PolicyPlaces, PolicyService } from '../../../appliance/policy/policy-service.js';
import { readPolicy } from '../../../appliance/policy/read-policy.js';
import type { Tier } from '../../../appliance/policy/rules.js';
import type { GatewayPolicy } from '../../../src/common/policy/compiled.js';

const WEB: Subject = {
  id: 'web',
  name: 'web',
  labels: { role: 'web' },
  networks: ['front'],
  macs: ['02:00:00:00:00:01'],
  addresses: ['172.16.0.2'],
};

const lookups = (texts: Partial<Record<Tier, string>>): string[] | null => {
  const tier = (name: Tier) => readPolicy(texts[name] ?? '', name);
  return lookupsOf(ordered({ admin: tier('admin'), project: tier('project'), default: tier('default') }), WEB);
};
const NAMES =
  'rules: [{ name: mirrors, direction: out, peer: { fqdns: ["*.example.org", example.net] }, ports: 443, action: allow }]';

it.each<[string, Partial<Record<Tier, string>>, string[] | null]>([
  ['no policy: all', {}, null],
  ['balanced: all', { default: 'preset: balanced' }, null],
  ['locked: none', { default: 'preset: locked' }, []],
  ['locked, and names: these', { project: NAMES, default: 'preset: locked' }, ['*.example.org', 'example.net']],
  [
    'names, and nothing else outside: these',
    { admin: 'rules: [{ name: x, direction: out, peer: outside, action: reject, priority: 9999 }]', project: NAMES },
    [],
  ],
  [
    'names before a rule that drops the rest: these',
    { admin: NAMES, project: 'rules: [{ name: x, direction: out, peer: outside, action: drop }]' },
    ['*.example.org', 'example.net'],
  ],
  [
    'what is dropped on some ports is not dropped: all',
    { project: 'rules: [{ name: x, direction: out, peer: outside, ports: 25, action: drop }]' },
    null,
  ],
  [
    'one port of everything outside: all',
    {
      project: 'rules: [{ name: x, direction: out, peer: { cidrs: 0.0.0.0/0 }, ports: 443, action: allow }]',
      default: 'preset: locked',
    },
    null,
  ],
  [
    'a range says nothing about names',
    {
      project: 'rules: [{ name: x, direction: out, peer: { cidrs: 10.0.0.0/8 }, action: allow }]',
      default: 'preset: locked',
    },
    [],
  ],
  [
    'rules for others do not count',
    {
      project: 'rules: [{ name: x, direction: out, select: { names: db }, peer: outside, action: allow }]',
      default: 'preset: locked',
    },
    [],
  ],
  [
    'names that are left to a tier that allows everything: these',
    {
      project: `rules:
- { name: names, direction: out, peer: { fqdns: ["*.example.org"] }, action: pass }
- { name: rest, direction: out, peer: any, action: drop }`,
    },
    ['*.example.org'],
  ],
  [
    'names that are left to a tier that allows some of them: those',
    {
      admin: `rules:
- { name: names, direction: out, peer: { fqdns: ["*.example.org", a.example.net] }, action: pass }
- { name: rest, direction: out, peer: any, action: drop }`,
      project: `rules:
- { name: names, direction: out, peer: { fqdns: [b.example.org, "*.example.net", example.com] }, action: allow }`,
      default: 'preset: locked',
    },
    ['a.example.net', 'b.example.org'],
  ],
  [
    'one port that is left to a tier that allows everything: all',
    {
      project: `rules:
- { name: web, direction: out, peer: any, ports: 443, action: pass }
- { name: rest, direction: out, peer: any, action: drop }`,
    },
    null,
  ],
  [
    'pass skips the rest of its tier',
    {
      admin: `rules:
  - { name: on, direction: out, peer: outside, action: pass }
  - { name: off, direction: out, peer: outside, action: drop }`,
      project: NAMES,
    },
    null,
  ],
])('names that may be looked up: %s', (_, texts, wanted) => {
  expect(lookups(texts)).toEqual(wanted);
});

/** Places that keep what they are told. */
function places(kept: Partial<Record<Tier, string>>, saved: { names?: unknown } = {}) {
  const told: { gateway: GatewayPolicy | null; lookups: ReadonlyMap<string, string[] | null> | null } = {
    gateway: null,
    lookups: null,
  };
  const all: PolicyPlaces = {
    subjects: () => [WEB],
    resolvers: () => [],
    read: async (tier) => kept[tier] ?? '',
    keep: async () => undefined,
    readLearned: async () => saved.names,
    keepLearned: async (names) => {
      // As it is read again.
      saved.names = JSON.parse(JSON.stringify(names));
    },
    onSwitch: async () => undefined,
    atGateway: async (policy) => {
      told.gateway = policy;
    },
    watch: () => undefined,
    lookups: async (allowed) => {
      told.lookups = allowed;
    },
  };
  return { all, told, saved };
}

it('tells what each container may look up', async () => {
  const { all, told } = places({ default: 'preset: locked' });
  const service = new PolicyService(all);
  await service.open();
  expect(told.lookups).toEqual(new Map([['web', []]]));
  await service.setProject(NAMES);
  expect(told.lookups?.get('web')).toEqual(['*.example.org', 'example.net']);
});

it('restricts nobody when the policy cannot be enforced, or is taken away', async () => {
  const { all, told } = places({});
  const service = new PolicyService(all);
  await service.open();
  const last = 'rules: [{ name: x, direction: out, peer: outside, action: drop }]';
  all.atGateway = async () => {
    throw new Error('no');
  };
  await expect(service.setProject(last)).rejects.toThrow('no');
  expect(told.lookups).toBeNull();
  all.atGateway = async () => undefined;
  await service.setProject(last);
  expect(told.lookups?.get('web')).toEqual([]);
  await service.setProject('');
  expect(told.lookups).toBeNull();
});

it('knows the addresses of names after a restart', async () => {
  const texts = { project: NAMES, default: 'preset: locked' };
  const first = places(texts);
  const service = new PolicyService(first.all);
  await service.open();
  await service.heard({ name: 'a.example.org', addresses: ['203.0.113.5'], ttl: 300 });
  expect(first.told.gateway?.learned).toEqual([['203.0.113.5', expect.any(Number), 360]]);
  await expect.poll(() => first.saved.names).toBeDefined();
  const second = places(texts, first.saved);
  await new PolicyService(second.all).open();
  expect(second.told.gateway?.learned[0]?.[0]).toBe('203.0.113.5');
});

it('passes over what an earlier process cannot have saved', () => {
  const names = new LearnedNames();
  const later = 2_000_000;
  for (const saved of [
    undefined,
    'x',
    [['nowhere', [['a', later]]]],
    [['203.0.113.5', [['a', 'soon']]]],
    [['203.0.113.5', [['a', 1]]]],
    [['203.0.113.5', [['a', 1e15]]]],
    [['169.254.169.254', [['a', later]]]],
  ])
    names.restore(saved, 1_000_000);
  expect(names.list(1_000_000)).toEqual([]);
  names.restore([['203.0.113.5', [['a', later]]]], 1_000_000);
  expect(names.list(1_000_000)).toEqual([{ address: '203.0.113.5', names: ['a'], seconds: 1000 }]);
});
