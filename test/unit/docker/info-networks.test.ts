import { expect, it } from 'vitest';
import { addressPoolsView, networkStatus, ranges } from '../../../appliance/docker/system/info-networks.js';

const networks = [
  { name: 'bridge', portGroup: 'vch-bridge', subnet: '172.16.0.0/16' },
  { name: 'other', portGroup: 'pg', subnet: '10.0.0.0/24' },
] as never;

it('says whether new networks are apart, and what containers reach', () => {
  expect(networkStatus({ networks }, true)).toEqual([
    ['Bridge network', 'vch-bridge 172.16.0.0/16'],
    ['Network other', 'pg 10.0.0.0/24'],
    ['New networks', 'have a port group each'],
    ['Egress', 'relay: what this machine reaches'],
  ]);
  const locked = { networks, egress: 'none' as const, egressRate: 10_000_000, hostPorts: [8080, 9000, 9001, 9002] };
  expect(networkStatus(locked, true).slice(3)).toEqual([
    ['Egress', 'none'],
    ['Egress rate', '10mbit for each container, unless its network says otherwise'],
    ['Ports of the machine that containers reach', '8080,9000-9002'],
  ]);
  expect(ranges([1, 3, 4])).toBe('1,3-4');
  expect(addressPoolsView({})).toEqual({});
  expect(addressPoolsView({ addressPools: [{ base: '10.0.0.0/8', size: 24 }] })).toEqual({
    DefaultAddressPools: [{ Base: '10.0.0.0/8', Size: 24 }],
  });
});

it('says what a vCenter does not have, and what keeps networks apart there', () => {
  const filters = "packet filters in the containers' own machines keep them apart";
  expect(networkStatus({ networks, egress: 'none' }, false).slice(2)).toEqual([
    ['New networks', `share the port group vch-bridge; ${filters}`],
    ['Egress', 'none'],
    ['Names of containers', 'not served on this host'],
    ['Published ports', 'on networks where this endpoint has an address'],
    ['Policies', 'not enforced on this host'],
  ]);
  const made = { networks, allowNetworkCreate: true };
  expect(networkStatus(made, false)[2]?.[1]).toBe(`have a port group each, in the VLAN of vch-bridge; ${filters}`);
  expect(networkStatus({ ...made, networkVlans: { first: 7, last: 9 } }, false)[2]?.[1]).toBe(
    'have a port group and a VLAN of 7-9 each',
  );
  expect(networkStatus(made, false)[3]?.[1]).toBe('up to the gateway of each network, which this engine is not');
});
