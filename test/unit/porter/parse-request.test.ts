import { expect, it } from 'vitest';
import { parseRequest } from '../../../src/porter/parse-request.js';

const eth0 = { interface: 'eth0', address: '172.16.0.1/16' };
const eth1 = { interface: 'eth1', address: 'fd00::1/64' };
const publish = { kind: 'publish', request: 1, id: 2, protocol: 'tcp', host: '::1', port: 443 };

it.each([
  publish,
  { kind: 'serve', request: 1, place: { socket: true } },
  { kind: 'serve', request: 1, place: { host: 'localhost', port: 0 } },
  { kind: 'gateway', request: 3, networks: [eth0] },
  { kind: 'gateway', request: 3, networks: [eth0, eth1] },
  { kind: 'target', id: 1, address: '172.16.0.2', port: 80 },
  { kind: 'close', id: 1 },
])('%j is read', (request) => {
  expect(parseRequest({ ...request, more: 'left out' })).toEqual(request);
});

it.each([
  null,
  7,
  'close',
  [],
  {},
  { kind: 'exec', request: 1 },
  { kind: 'serve', request: 1, place: null },
  { kind: 'serve', request: 1, place: { path: '/etc/x' } },
  { kind: 'serve', request: 1, place: { host: 'x'.repeat(256), port: 1 } },
  { kind: 'gateway', request: 1, address: '172.16.0.1/16' },
  { kind: 'gateway', request: 1, networks: [] },
  { kind: 'gateway', request: 1, networks: [eth0, eth0] },
  { kind: 'gateway', request: 1, networks: Array.from({ length: 11 }, (_, n) => ({ ...eth0, interface: `eth${n}` })) },
  ...['lo', 'eth', 'eth0 up', '-eth0', 7].map((name) => ({
    kind: 'gateway',
    request: 1,
    networks: [{ ...eth0, interface: name }],
  })),
  ...['172.16.0.1', '172.16.0.1/33', '172.16.0.1/16/1', 'fd00::1/129', '/16', '-h', 7].map((address) => ({
    kind: 'gateway',
    request: 1,
    networks: [eth0, { ...eth1, address }],
  })),
  { ...publish, request: -1 },
  { ...publish, id: 1.5 },
  { ...publish, protocol: 'unix' },
  { ...publish, host: '/run/x' },
  { ...publish, host: 'localhost' },
  { ...publish, port: 65_536 },
  { ...publish, port: '80' },
  { kind: 'target', id: 1, address: '', port: 1 },
  { kind: 'close', id: '1' },
])('%j is refused', (request) => {
  expect(parseRequest(request)).toBeNull();
});
