/** Cards on container networks: what the guest and the host are told of their trust, and who gives the addresses. */
import { describe, expect, it } from 'vitest';
import { cardSettings } from '../../../port-layer/exec/program-spec.js';
import { trustKeys } from '../../../port-layer/exec/vm-spec.js';
import { wholeEndpoint } from '../../../port-layer/network/endpoints.js';
import { externalNetworks, outerTrust } from '../../../port-layer/network/external-networks.js';
import type { NetworkEndpoint } from '../../../port-layer/network/types.js';

const endpoint = (network: string, more: Partial<NetworkEndpoint>): NetworkEndpoint =>
  wholeEndpoint({ network, ...more });
const bridge = endpoint('bridge', { mac: 'b', address: '172.16.0.2', prefixLength: 16, gateway: '172.16.0.1' });
const lan = endpoint('lan', {
  ...{ mac: 'l', address: '10.0.0.9', prefixLength: 24, gateway: '10.0.0.1' },
  external: { trust: 'published', peers: ['10.0.0.8-10.0.0.20'], dhcp: false },
});
const leased = endpoint('leased', { mac: 'd', external: { trust: 'open', peers: [], dhcp: true } });
const PORTS = [
  { protocol: 'tcp' as const, first: 80, last: 80 },
  { protocol: 'udp' as const, first: 8000, last: 8010 },
];

it('a network has its level, published by default, and its ranges or its subnet as peers', () => {
  const [ranges, whole, dhcp] = externalNetworks({
    id: 'x',
    containerNetworks: [
      {
        name: 'a',
        portGroup: 'a',
        trust: 'peers',
        dns: [],
        gateway: '10.0.0.1/24',
        ipRanges: ['10.0.0.8-10.0.0.9', '10.0.0.64/26'],
      },
      { name: 'b', portGroup: 'b', trust: 'closed', dns: [], gateway: '10.0.1.1/24', ipRanges: [] },
      { name: 'c', portGroup: 'c', trust: 'open', dns: [], ipRanges: [] },
    ],
  });
  expect(outerTrust(ranges!)).toEqual({ trust: 'peers', peers: ['10.0.0.8-10.0.0.9', '10.0.0.64/26'], dhcp: false });
  expect(outerTrust(whole!)).toEqual({ trust: 'closed', peers: ['10.0.1.0/24'], dhcp: false });
  expect(outerTrust(dhcp!)).toEqual({ trust: 'open', peers: ['lease'], dhcp: true });
});

describe('a card', () => {
  it('of a bridge network has no filter, whatever is published', () => {
    expect(cardSettings(bridge, [bridge], PORTS)).toEqual({ address: '172.16.0.2/16', gateway: '172.16.0.1' });
  });

  it('of a container network has the filter of its level', () => {
    expect(cardSettings(lan, [lan], PORTS)).toEqual({
      ...{ address: '10.0.0.9/24', gateway: '10.0.0.1' },
      filter: { trust: 'published', ports: PORTS, peers: ['10.0.0.8-10.0.0.20'] },
    });
  });

  it('whose sender nobody else checks may send as itself only, and under `closed` as nobody', () => {
    const trusted = (more: Partial<NonNullable<NetworkEndpoint['external']>>) => {
      const one = { ...lan, external: { ...lan.external!, alone: true, ...more } };
      return cardSettings(one, [one]).filter?.own;
    };
    expect(trusted({})).toEqual({ mac: 'l', addresses: ['10.0.0.9'] });
    expect(trusted({ trust: 'closed' })).toEqual({ mac: 'l', addresses: [] });
    expect(trusted({ trust: 'open' })).toBeUndefined();
    // Its address is not known here.
    expect(trusted({ dhcp: true })).toBeUndefined();
  });

  it('with DHCP gets the default route from there if it comes first, and nobody else has one then', () => {
    expect(cardSettings(leased, [leased])).toEqual({ address: '', dhcp: 'route' });
    expect(cardSettings(leased, [bridge, leased])).toEqual({ address: '', dhcp: 'address' });
    const first = { ...leased, gwPriority: 1 };
    expect(cardSettings(first, [bridge, first])).toEqual({ address: '', dhcp: 'route' });
    expect(cardSettings(bridge, [bridge, first])).toEqual({ address: '172.16.0.2/16' });
  });
});

it('the host is told the published ports of cards on container networks, and nothing about others', () => {
  expect(trustKeys([bridge], PORTS)).toEqual([]);
  expect(trustKeys([bridge, lan, leased], PORTS)).toEqual([
    ['caisson.trust', 'l=80/tcp,8000-8010/udp;d=80/tcp,8000-8010/udp'],
  ]);
  expect(trustKeys([lan])).toEqual([['caisson.trust', 'l=']]);
});
