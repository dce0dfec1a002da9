import { expect, it } from 'vitest';
import { checkEgress, checkForward, checkPublished } from '../../../src/porter/grants.js';

const machine = { resolvers: ['127.0.0.53', '9.9.9.9'], addresses: ['127.0.0.1', '192.0.2.5', '::1'] };
const own = ['172.16.0.1', 'fd00::1'];
const check = (inner: string, outer: string, port: number) => (): void =>
  checkForward({ hostPorts: [8080] }, { address: inner, port: 5300 }, { address: outer, port }, own, machine);

it.each([
  ['127.0.0.1', '127.0.0.53', 53],
  ['127.0.0.1', '9.9.9.9', 53],
  // A container's own servers.
  ['::1', '8.8.8.8', 53],
  ['172.16.0.1', '127.0.0.1', 8080],
  ['fd00::1', '192.0.2.5', 8080],
] as const)('from %s to %s port %i is forwarded', (inner, outer, port) => {
  expect(check(inner, outer, port)).not.toThrow();
});

it.each([
  ['172.16.0.1', '127.0.0.1', 53],
  ['172.16.0.1', '192.0.2.5', 22],
  ['172.16.0.1', '8.8.8.8', 80],
  ['172.16.0.1', '8.8.8.8', 8080],
  ['172.16.0.2', '127.0.0.1', 8080],
  ['8.8.8.8', '127.0.0.1', 8080],
] as const)('from %s to %s port %i is not', (inner, outer, port) => {
  expect(check(inner, outer, port)).toThrow(/is not/);
});

it('ports are published where the virtual container host may', () => {
  const publish = { addresses: ['127.0.0.1'], lowestPort: 1024 };
  expect(() => checkPublished({ publish }, '127.0.0.1', 1024)).not.toThrow();
  expect(() => checkPublished({ publish }, '127.0.0.1', 0)).not.toThrow();
  expect(() => checkPublished({ publish }, '127.0.0.1', 80)).toThrow('127.0.0.1:80 is not to be published');
  expect(() => checkPublished({ publish }, '0.0.0.0', 8080)).toThrow('is not to be published');
});

it('a host without a way out gets none, whatever its endpoint asks for', () => {
  const card = { interface: 'eth0', egress: true };
  expect(() => checkEgress({ egress: false }, card)).toThrow('nothing is to leave eth0');
  checkEgress({ egress: false }, { ...card, egress: false });
  checkEgress({ egress: true }, card);
});
