/** What a policy says about a flow, and which rule says it. */
import { expect, test } from 'vitest';
import { allowsAll, evaluate, ordered } from '../../../appliance/policy/evaluate.js';
import { isNamed, type Party, type Subject } from '../../../appliance/policy/parties.js';
import { readPolicy } from '../../../appliance/policy/read-policy.js';
import { NO_POLICY, type Policy, type Protocol } from '../../../appliance/policy/rules.js';

const subject = (name: string, role: string, networks = ['back']): Party => ({
  kind: 'container',
  subject: { id: name, name, labels: { role }, networks, macs: [], addresses: [] } satisfies Subject,
});
const outside = (address: string, ...names: string[]): Party => ({ kind: 'outside', address, names });
const [web, api, db] = [subject('web', 'web'), subject('api-1', 'api'), subject('db', 'db')];

const policy = (admin: string, project: string, last = ''): Policy => ({
  admin: readPolicy(admin, 'admin'),
  project: readPolicy(project, 'project'),
  default: readPolicy(last, 'default'),
});

const ADMIN = `
rules:
  - { name: no-mail, direction: out, ports: [tcp/25], action: reject }
  - { name: trusted, direction: out, select: { names: "api-*" }, ports: [tcp/25], action: pass, priority: 1 }
`;
const PROJECT = `
rules:
  - { name: api-to-db, direction: in, select: { labels: { role: db } }, peer: { labels: { role: api } }, ports: 5432, action: allow }
  - { name: db-alone, direction: in, select: { labels: { role: db } }, action: drop }
  - { name: mirrors, direction: out, peer: { fqdns: ["*.mirror.example"] }, ports: [443], action: allow }
  - { name: no-web, direction: out, peer: outside, ports: [443], action: drop }
`;

test.each<[string, Party, Party, Protocol, number, string, string[]]>([
  ['the first rule that matches decides', api, db, 'tcp', 5432, 'allow by project/api-to-db', []],
  ['another port goes on', api, db, 'tcp', 5433, 'drop by project/db-alone', []],
  ['another container goes on', web, db, 'tcp', 5432, 'drop by project/db-alone', []],
  ['nothing matches: the preset', db, api, 'tcp', 80, 'allow by preset/open-out', []],
  ['an earlier tier wins', web, outside('1.1.1.1'), 'tcp', 25, 'reject by admin/no-mail', []],
  [
    'priority before order, and pass goes to the next tier',
    api,
    outside('1.1.1.1'),
    'tcp',
    25,
    'allow by preset/open-out',
    ['admin/trusted'],
  ],
  [
    'a name below the wildcard',
    web,
    outside('1.1.1.1', 'deb.mirror.example'),
    'tcp',
    443,
    'allow by project/mirrors',
    [],
  ],
  ['an address without that name', web, outside('1.1.1.1', 'example.org'), 'tcp', 443, 'drop by project/no-web', []],
  ['from outside', outside('1.1.1.1'), db, 'udp', 1, 'drop by project/db-alone', []],
])('%s', (_, from, to, protocol, port, wanted, passed) => {
  const verdict = evaluate(ordered(policy(ADMIN, PROJECT)), { from, to, protocol, port });
  expect(`${verdict.action} by ${verdict.rule.id}`).toBe(wanted);
  expect(verdict.passed.map(({ id }) => id)).toEqual(passed);
});

test.each<[string, Party, Party, number, string]>([
  ['open', web, outside('169.254.169.254'), 80, 'allow by preset/open-out'],
  ['balanced', web, outside('169.254.169.254'), 80, 'reject by preset/private-ranges'],
  ['balanced', web, outside('168.63.129.16'), 80, 'reject by preset/private-ranges'],
  ['balanced', web, outside('192.168.1.1'), 80, 'reject by preset/private-ranges'],
  ['balanced', web, outside('192.168.1.1'), 53, 'allow by preset/name-servers'],
  ['balanced', web, outside('192.168.1.2'), 53, 'reject by preset/private-ranges'],
  ['balanced', web, outside('::ffff:192.168.1.2'), 80, 'reject by preset/private-ranges'],
  ['balanced', web, outside('fd00::1'), 80, 'reject by preset/private-ranges'],
  ['balanced', web, outside('2606:4700::1111'), 80, 'allow by preset/balanced-out'],
  ['balanced', web, db, 80, 'allow by preset/balanced-out'],
  ['balanced', outside('192.168.1.1'), web, 80, 'allow by preset/balanced-in'],
  ['locked', web, db, 80, 'reject by preset/locked-out'],
  ['locked', web, outside('1.1.1.1'), 443, 'reject by preset/locked-out'],
  ['locked', web, outside('192.168.1.1'), 53, 'reject by preset/locked-out'],
  ['locked', outside('1.1.1.1'), web, 80, 'reject by preset/locked-in'],
])('preset %s', (preset, from, to, port, wanted) => {
  const rules = ordered(policy('', '', `preset: ${preset}`), ['192.168.1.1']);
  const verdict = evaluate(rules, { from, to, protocol: 'tcp', port });
  expect(`${verdict.action} by ${verdict.rule.id}`).toBe(wanted);
});

test('a wildcard means what is below the name', () => {
  expect(
    ['example.org', 'a.example.org', 'b.a.example.org', 'xexample.org'].filter((name) =>
      isNamed('*.example.org', name),
    ),
  ).toEqual(['a.example.org', 'b.a.example.org']);
  expect(isNamed('example.org', 'example.org')).toBe(true);
});

test('a policy that refuses nothing needs no enforcement', () => {
  expect(allowsAll(NO_POLICY)).toBe(true);
  expect(allowsAll(policy('', 'rules: [{ name: a, direction: in, action: allow }]'))).toBe(true);
  expect(allowsAll(policy('', 'rules: [{ name: a, direction: in, action: drop }]'))).toBe(false);
  expect(allowsAll(policy('', 'rules: [{ name: a, direction: in, action: allow, log: true }]'))).toBe(false);
  expect(allowsAll(policy('', '', 'preset: balanced'))).toBe(false);
});
