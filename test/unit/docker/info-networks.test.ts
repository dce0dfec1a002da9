import { expect, it } from 'vitest';
import { addressPoolsView, networkStatus, ranges } from '../../../appliance/docker/system/info-networks.js';

const networks = [
  { name: 'bridge', portGroup: 'vch-bridge', subnet: '172.16.0.0/16' },
  { name: 'other', portGroup: 'pg', subnet: '10.0.0.0/24' },
] as never;

it('says whether new networks are apart, and what containers reach', () => {
  expect(networkStatus({ networks }, { api: 'HostAgent' })).toEqual([
    ['Bridge network', 'vch-bridge 172.16.0.0/16'],
    ['Network other', 'pg 10.0.0.0/24'],
    ['New networks', 'have a port group each'],
    ['Egress', 'relay: what this machine reaches'],
  ]);
  const locked = { networks, egress: 'none' as const, egressRate: 10_000_000, hostPorts: [8080, 9000, 9001, 9002] };
  expect(networkStatus(locked, { api: 'VirtualCenter' }).slice(2)).toEqual([
    ['New networks', 'share the port group vch-bridge; only policy separates them'],
    ['Egress', 'none'],
    ['Egress rate', '10mbit for each container, unless its network says otherwise'],
    ['Ports of the machine that containers reach', '8080,9000-9002'],
  ]);
  expect(networkStatus({ networks, allowNetworkCreate: true }, { api: 'VirtualCenter' })[2]?.[1]).toBe(
    'have a port group each',
  );
  expect(ranges([1, 3, 4])).toBe('1,3-4');
  expect(addressPoolsView({})).toEqual({});
  expect(addressPoolsView({ addressPools: [{ base: '10.0.0.0/8', size: 24 }] })).toEqual({
    DefaultAddressPools: [{ Base: '10.0.0.0/8', Size: 24 }],
  });
});
