import { expect, it } from 'vitest';
import { externalNetworks } from '../../../port-layer/network/external-networks.js';

const id = '0'.repeat(32);

it('a network with a gateway has its subnet and ranges, one without has DHCP', () => {
  const networks = externalNetworks({
    id,
    containerNetworks: [
      {
        name: 'dmz',
        portGroup: 'DMZ',
        gateway: '10.1.2.3/16',
        ipRanges: ['10.1.7.0/24', '10.1.9.1-10.1.9.20'],
        dns: ['10.1.0.2'],
        trust: 'peers',
      },
      { name: 'lan', portGroup: 'LAN', ipRanges: [], dns: [], trust: 'open' },
      { name: 'six', portGroup: 'Six', gateway: 'fd00:1::1/64', ipRanges: [], dns: [], trust: 'closed' },
    ],
  });
  expect(networks).toMatchObject([
    {
      name: 'dmz',
      kind: 'external',
      portGroup: 'DMZ',
      pools: [{ subnet: '10.1.0.0/16', gateway: '10.1.2.3', ipRange: '10.1.7.0/24,10.1.9.1-10.1.9.20', aux: {} }],
      ipv4: true,
      ipv6: false,
      trust: 'peers',
      dns: ['10.1.0.2'],
      ipamDriver: 'default',
    },
    { name: 'lan', pools: [], ipv4: true, trust: 'open', ipamDriver: 'dhcp' },
    { name: 'six', pools: [{ subnet: 'fd00:1::/64', gateway: 'fd00:1::1' }], ipv4: false, ipv6: true },
  ]);
  expect(new Set(networks.map((network) => network.id)).size).toBe(3);
});

it('a configuration without any has none', () => {
  expect(externalNetworks({ id })).toEqual([]);
});
