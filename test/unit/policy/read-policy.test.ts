/** A tier's file: what it may say, and what is said about what it may not. */
import { expect, test } from 'vitest';
import { readPolicy } from '../../../appliance/policy/read-policy.js';

test('a file with everything in it', () => {
  const text = `
version: 1
preset: locked
rules:
  - name: api-to-db
    direction: in
    select: { labels: { role: db } }
    peer: [ { labels: { role: api, tier: "*" }, networks: back }, { cidrs: [ 10.0.0.0/8, "fd00::/8" ] } ]
    ports: [ tcp/5432, udp/53, 8000, tcp/9000-9100, icmp ]
    action: allow
    priority: 5
    log: true
  - name: mirrors
    direction: out
    peer: { fqdns: [ "*.Debian.org." ] }
    action: pass
`;
  expect(readPolicy(text, 'default')).toEqual({
    preset: 'locked',
    rules: [
      {
        id: 'default/api-to-db',
        direction: 'in',
        select: { labels: { role: 'db' } },
        peers: [
          { kind: 'containers', selector: { labels: { role: 'api', tier: '*' }, networks: ['back'] } },
          { kind: 'ranges', cidrs: ['10.0.0.0/8', 'fd00::/8'] },
        ],
        ports: [
          { protocol: 'tcp', first: 5432, last: 5432 },
          { protocol: 'udp', first: 53, last: 53 },
          { protocol: 'tcp', first: 8000, last: 8000 },
          { protocol: 'tcp', first: 9000, last: 9100 },
          { protocol: 'icmp', first: 0, last: 65535 },
        ],
        action: 'allow',
        priority: 5,
        log: true,
      },
      {
        id: 'default/mirrors',
        direction: 'out',
        select: {},
        peers: [{ kind: 'names', fqdns: ['*.debian.org'] }],
        ports: null,
        action: 'pass',
        priority: 1000,
        log: false,
      },
    ],
  });
  expect(readPolicy('', 'project')).toEqual({ rules: [] });
});

const rule = (line: string): string => `rules:\n  - name: one\n    direction: out\n    action: drop\n    ${line}\n`;

test.each<[string, string, RegExp]>([
  ['an unknown field', rule('colour: red'), /^line 2: rules\[0\]: .*"colour"/],
  [
    'a wrong action',
    'rules:\n  - name: one\n    direction: in\n    action: deny\n',
    /^line 4: rules\[0\]\.action: .*"allow"\|"drop"\|"reject"\|"pass"/,
  ],
  ['a missing direction', 'rules:\n  - name: one\n    action: drop\n', /^line 2: rules\[0\]\.direction: .*"in"\|"out"/],
  [
    'a range that is none',
    rule('peer: { cidrs: [10.0.0.0/33] }'),
    /^line 5: rules\[0\]\.peer.*expected an address or range/,
  ],
  ['a name that is none', rule('peer: { fqdns: ["a..b"] }'), /^line 5: rules\[0\]\.peer.*expected a name such as/],
  ['a star inside a name', rule('peer: { fqdns: ["a.*.b"] }'), /^line 5: .*expected a name such as/],
  [
    'two kinds of peers in one',
    rule('peer: { cidrs: [10.0.0.0/8], names: [a] }'),
    /^line 5: .*several kinds are a list/,
  ],
  ['ports that are none', rule('ports: [sctp/3]'), /^line 5: rules\[0\]\.ports.*expected 'tcp\/443'/],
  ['ports of icmp', rule('ports: [icmp/3]'), /^line 5: .*expected 'tcp\/443'/],
  ['a range the wrong way', rule('ports: tcp/9-3'), /^line 5: .*expected 'tcp\/443'/],
  [
    'names for what comes in',
    'rules:\n  - name: one\n    direction: in\n    action: drop\n    peer: { fqdns: [a.b] }\n',
    /^line 5: rules\[0\]\.peer: fqdns are possible only/,
  ],
  [
    'two rules of one name',
    'rules:\n  - { name: one, direction: in, action: drop }\n  - { name: one, direction: in, action: drop }\n',
    /^line 3: rules\[1\]\.name: there is another rule 'one'/,
  ],
  ['a preset outside the tier default', 'preset: open\n', /^line 1: .*"preset"/],
  ['no YAML', 'rules: [\n', /^line 2: /],
  ['an alias', 'rules: &a []\nversion: *a\n', /./],
  ['a text', 'hello', /^line 1: /],
])('%s is refused with its line', (_, text, message) => {
  expect(() => readPolicy(text, 'project')).toThrow(message);
});
