import { expect, it } from 'vitest';
import { parseRequest, requestNumber } from '../../../src/porter/parse-request.js';

const eth0 = { interface: 'eth0', address: '172.16.0.1/16' };
const eth1 = { interface: 'eth1', address: 'fd00::1/64' };
const cards = (count: number): unknown[] =>
  Array.from({ length: count }, (_, n) => ({ ...eth0, interface: `eth${n}` }));
const publish = { kind: 'publish', request: 1, id: 2, protocol: 'tcp', host: '::1', port: 443 };

const network = {
  kind: 'network',
  request: 4,
  interface: 'eth2',
  addresses: ['10.0.0.1/8', 'fd00::1/64'],
  egress: true,
  internal: false,
  mtu: 0,
  rate: 0,
};
const forward = {
  kind: 'forward',
  request: 5,
  id: 9,
  protocol: 'udp',
  inner: { address: '127.0.0.1', port: 5301 },
  outer: { address: 'fd00::53', port: 53 },
};
const member = { network: 'n1', addresses: ['10.0.0.2', 'fd00::2'], names: ['db'], links: [['x', 'web']] };
const container = {
  id: 'c1',
  members: [member],
  servers: [{ address: '9.9.9.9', port: 53 }],
  lookups: ['*.example.org'],
};
const change = {
  whole: true,
  networks: [{ id: 'n1', name: 'backend', named: true, forwards: false }],
  servers: [{ address: '127.0.0.1', port: 5301 }],
  containers: [container, { id: 'c2', members: [], servers: null, lookups: null }],
  gone: ['c3'],
  reported: ['*.example.com'],
};
const names = { kind: 'names', request: 8, change };

it.each([
  publish,
  network,
  { ...network, addresses: [], egress: false, internal: true, mtu: 1500 },
  { ...network, interface: 'eth10' },
  { kind: 'network-gone', request: 5, interface: 'eth255' },
  forward,
  { ...forward, inner: { address: '127.0.0.1', port: 0 } },
  names,
  {
    ...names,
    change: { whole: false, networks: null, servers: null, containers: [], gone: [], reported: null },
  },
  { kind: 'reported', id: 3 },
  { kind: 'counters', request: 6 },
  { kind: 'rate', address: 'fd00::2', rate: 1_250_000 },
  { kind: 'forget', address: '10.0.0.2' },
  { kind: 'serve', request: 1, place: { socket: true } },
  { kind: 'serve', request: 1, place: { host: 'localhost', port: 0 } },
  { kind: 'gateway', request: 3, networks: [eth0] },
  { kind: 'gateway', request: 3, networks: [eth0, eth1] },
  { kind: 'gateway', request: 3, networks: cards(256) },
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
  { kind: 'gateway', request: 1, networks: cards(257) },
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
  ...[
    { interface: 'eth01' },
    { interface: 'eth256' },
    { interface: 'eth99999999999' },
    { interface: 'lo' },
    { addresses: '10.0.0.1/8' },
    { addresses: ['10.0.0.1'] },
    { addresses: ['fe80::1%eth0/64'] },
    { addresses: Array.from({ length: 17 }, (_, n) => `10.0.0.${n}/8`) },
    { egress: 1 },
    { internal: undefined },
    { mtu: -1 },
    { rate: -1 },
    { mtu: 70_000 },
    { request: 'x' },
  ].map((wrong) => ({ ...network, ...wrong })),
  { kind: 'network-gone', request: 5, interface: 'lo' },
  { ...forward, protocol: 'sctp' },
  { ...forward, outer: { address: 'fd00::53', port: 0 } },
  { ...forward, outer: { address: 'localhost', port: 53 } },
  { ...forward, inner: null },
  { ...forward, inner: { address: '127.0.0.1', port: 70_000 } },
  { kind: 'counters' },
  { kind: 'rate', address: 'fd00::2' },
  { kind: 'rate', address: '10.0.0.2 1', rate: 1 },
  { kind: 'rate', address: '10.0.0.2', rate: -1 },
  { kind: 'rate', address: '10.0.0.2', rate: 1e15 },
  { kind: 'forget', address: 'eth0' },
  { kind: 'reported' },
  { ...names, request: undefined },
  ...[
    null,
    { ...change, whole: 1 },
    { ...change, servers: undefined },
    { ...change, servers: [{ address: 'localhost', port: 53 }] },
    { ...change, servers: [{ address: '127.0.0.1', port: 0 }] },
    { ...change, networks: [{ ...change.networks[0], named: 'no' }] },
    { ...change, networks: Array.from({ length: 1025 }, () => change.networks[0]) },
    { ...change, gone: [7] },
    { ...change, reported: 'x' },
    { ...change, containers: null },
    { ...change, containers: [{ ...container, servers: ['9.9.9.9'] }] },
    ...[{ addresses: ['x'] }, { names: ['x'.repeat(256)] }, { links: [['x']] }, { links: [['x', ['y']]] }].map(
      (wrong) => ({ ...change, containers: [{ ...container, members: [{ ...member, ...wrong }] }] }),
    ),
  ].map((wrong) => ({ ...names, change: wrong })),
])('%j is refused', (request) => {
  expect(parseRequest(request)).toBeNull();
});

it.each([
  [{ kind: 'exec', request: 7 }, 7],
  [{ request: 0 }, 0],
  [{ kind: 'exec' }, null],
  [{ request: '7' }, null],
  [null, null],
])('whoever sent %j waits for the answer %j', (raw, expected) => {
  expect(requestNumber(raw)).toBe(expected);
});
