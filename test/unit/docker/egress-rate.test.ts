import { expect, it } from 'vitest';
import { checkEndpointRate, networkRate } from '../../../appliance/docker/networks/egress-rate.js';
import { RatesFeed } from '../../../appliance/docker/networks/rates-feed.js';
import { networkUsage } from '../../../appliance/docker/networks/usage.js';
import { type ContainerInfo, wholeEndpoint } from '../../../port-layer/index.js';

const OPTION = 'caisson.egress-rate';

/** A container that runs on `front`. */
function container(name: string, address: string, rate?: string, address6 = ''): ContainerInfo {
  const driverOpts = rate === undefined ? {} : { driverOpts: { [OPTION]: rate } };
  return {
    spec: {
      id: `${name}-id`,
      name,
      networks: [{ network: 'front', networkId: 'front-id', aliases: [], ...driverOpts }],
    },
    endpoints: [wholeEndpoint({ network: 'front', networkId: 'front-id', address, address6 })],
  } as unknown as ContainerInfo;
}

it('the gateway hears of rates, and of addresses that are somebody else’s or nobody’s', () => {
  const told: string[] = [];
  let all: ContainerInfo[] = [];
  const feed = new RatesFeed(
    {
      rate: (address, rate) => void told.push(`${address} ${rate}`),
      forget: (address) => void told.push(`forget ${address}`),
    },
    { list: () => all },
  );
  const after = (...containers: ContainerInfo[]): string[] => {
    told.length = 0;
    all = containers;
    feed.follow();
    return [...told];
  };
  const fast = container('fast', '10.0.0.3', 'none', 'fd00::3');
  expect(after(container('a', '10.0.0.2', '8mbit'), fast, container('plain', '10.0.0.4'))).toEqual([
    '10.0.0.2 1000000',
    '10.0.0.3 125000000000',
    'fd00::3 125000000000',
  ]);
  expect(after(container('a', '10.0.0.2', '8mbit'), fast)).toEqual(['forget 10.0.0.4']);
  expect(after(container('b', '10.0.0.2', '8mbit'), fast)).toEqual(['forget 10.0.0.2', '10.0.0.2 1000000']);
  expect(after()).toEqual(['forget 10.0.0.2', 'forget 10.0.0.3', 'forget fd00::3']);
});

it('a network’s own rate goes before the virtual container host’s', () => {
  expect(networkRate({ options: {} }, undefined)).toBe(0);
  expect(networkRate({ options: {} }, 5e6)).toBe(5e6);
  expect(networkRate({ options: { [OPTION]: '1gbit' } }, 5e6)).toBe(1e9);
  expect(networkRate({ options: { [OPTION]: 'none' } }, 5e6)).toBe(0);
});

it('a place on a network cannot have a rate that means nothing there', () => {
  const check = (options: Record<string, string>, more = {}): void =>
    checkEndpointRate('n', { kind: 'bridge', internal: false, ...more }, options);
  check({ [OPTION]: '10mbit' });
  check({ [OPTION]: 'none' }, { internal: true });
  expect(() => check({ [OPTION]: '10 m' })).toThrow("caisson.egress-rate '10 m' is no rate");
  expect(() => check({ [OPTION]: '10mbit' }, { internal: true })).toThrow('an internal network has no way out');
  expect(() => check({ [OPTION]: '10mbit' }, { kind: 'external' })).toThrow('is not implemented for n');
});

it('what was carried is shown for each address, with the rate that holds', async () => {
  const counter = { address: '10.0.0.2', bytesIn: 1, bytesOut: 2, flows: 3 };
  const rows = await networkUsage({
    exec: {
      list: () => [container('a', '10.0.0.2'), container('b', '10.0.0.3', '1gbit'), container('c', '10.0.0.4', 'none')],
    },
    gateway: { counters: async () => [counter, { ...counter, address: '10.0.0.99' }] },
    networks: () => [{ id: 'front-id', options: {}, kind: 'bridge' }],
    ownRate: 10_000_000,
  });
  const place = { Network: 'front' };
  expect(rows).toEqual([
    { ...place, Container: 'a-id', Name: 'a', Address: '10.0.0.2', BytesIn: 1, BytesOut: 2, Flows: 3, Rate: '10mbit' },
    { ...place, Container: 'b-id', Name: 'b', Address: '10.0.0.3', BytesIn: 0, BytesOut: 0, Flows: 0, Rate: '1gbit' },
    { ...place, Container: 'c-id', Name: 'c', Address: '10.0.0.4', BytesIn: 0, BytesOut: 0, Flows: 0, Rate: '' },
  ]);
});
