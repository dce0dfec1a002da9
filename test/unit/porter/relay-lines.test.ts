import { expect, it } from 'vitest';
import { egressTable } from '../../../src/porter/egress-rules.js';
import { parseRelayLine } from '../../../src/porter/relay-lines.js';

it.each([
  ['ready 4000 1', { kind: 'ready', port: 4000, logged: true }],
  ['ok 7 8080', { kind: 'ok', request: 7, port: 8080 }],
  ['note something is amiss', { kind: 'note', text: 'something is amiss' }],
  [
    'count 3 fd00::2 10 20 1',
    { kind: 'count', request: 3, counter: { address: 'fd00::2', bytesIn: 10, bytesOut: 20, flows: 1 } },
  ],
  ['', null],
  ['what 1', null],
])('%j is read', (line, read) => {
  expect(parseRelayLine(line)).toEqual(read);
});

it('an error has what the words of Docker take', () => {
  const line = parseRelayLine('err 2 EADDRINUSE :: 80');
  expect(line).toMatchObject({ kind: 'err', request: 2, error: { code: 'EADDRINUSE', address: '::', port: 80 } });
});

const card = (number: number, egress: boolean) => ({
  interface: `eth${number}`,
  addresses: [`10.${number}.0.1/16`, `fd0${number}::1/64`],
  egress,
  internal: false,
  mtu: 0,
  rate: 0,
});

it('only cards with a way out are led to the relay, and no network inside is outside', () => {
  const rules = egressTable([card(0, true), card(1, false), { ...card(2, true), internal: true }], {
    port: 4000,
    logged: true,
  });
  expect(rules).toContain('iifname { "eth0" } jump outward');
  expect(rules).toContain('elements = { 10.0.0.1/16, 10.1.0.1/16, 10.2.0.1/16 }');
  expect(rules).toContain('elements = { fd00::1/64, fd01::1/64, fd02::1/64 }');
  expect(rules).toContain('tproxy ip6 to [::1]:4000');
  expect(rules.match(/log group/g)).toHaveLength(3);
});

it('without a relay that listens nothing is led there', () => {
  const rules = egressTable([card(0, true)], { port: 0, logged: false });
  expect(rules).not.toMatch(/tproxy|jump outward|log group/);
  expect(egressTable([card(0, true)], { port: 5, logged: false })).not.toContain('log group');
});
