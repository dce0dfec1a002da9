/** A container's /etc/hosts and /etc/resolv.conf. */
import { describe, expect, it } from 'vitest';
import { wholeEndpoint } from '../../../port-layer/network/endpoints.js';
import { type HostsFile, hostsFile } from '../../../port-layer/network/hosts-file.js';
import { internalResolvConf, machineDns, resolvConf } from '../../../port-layer/network/resolv-conf.js';
import { HOST_GATEWAY, type NetworkEndpoint } from '../../../port-layer/network/types.js';

const at = (address: string, gateway = '172.16.0.1'): NetworkEndpoint =>
  wholeEndpoint({ network: 'bridge', prefixLength: 16, address, gateway });
const BOTH = [at('172.16.0.2'), at('10.0.0.2', '10.0.0.1')];
const FIXED = `127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
`;

describe('the hosts file', () => {
  it.each<[string, Partial<HostsFile>, string]>([
    ['without a network', { endpoints: [] }, ''],
    ['while it has no address', { endpoints: [at('')] }, ''],
    ['on one network', {}, '172.16.0.2\tweb\n'],
    ['on two networks', { endpoints: BOTH }, '172.16.0.2\tweb\n10.0.0.2\tweb\n'],
    ['with a domain', { domainname: 'example.org' }, '172.16.0.2\tweb.example.org web\n'],
    ['with a full name as its host name', { hostname: 'web.example.org' }, '172.16.0.2\tweb.example.org web\n'],
    ['with extra hosts', { extraHosts: [{ host: 'db', address: '10.9.9.9' }] }, '10.9.9.9\tdb\n172.16.0.2\tweb\n'],
    [
      'with the gateway by name: that of its first network',
      { endpoints: BOTH, extraHosts: [{ host: 'gw', address: HOST_GATEWAY }] },
      '172.16.0.1\tgw\n172.16.0.2\tweb\n10.0.0.2\tweb\n',
    ],
    [
      'with the gateway by name but without one',
      { endpoints: [], extraHosts: [{ host: 'gw', address: HOST_GATEWAY }] },
      '',
    ],
    [
      'with links, which come after extra hosts',
      {
        extraHosts: [{ host: 'x', address: 'fd00::1' }],
        links: [{ address: '172.16.0.9', names: ['db', 'postgres'] }],
      },
      'fd00::1\tx\n172.16.0.9\tdb postgres\n172.16.0.2\tweb\n',
    ],
  ])('of a container %s', (_, given, more) => {
    const defaults = { hostname: 'web', domainname: '', endpoints: [at('172.16.0.2')], extraHosts: [], links: [] };
    expect(hostsFile({ ...defaults, ...given })).toBe(FIXED + more);
  });
});

describe('resolv.conf', () => {
  const machine = '# by hand\nnameserver 192.0.2.53\nnameserver\tfd00::53\nsearch lan example.org\noptions ndots:2\n';
  const whole = 'nameserver 192.0.2.53\nnameserver fd00::53\nsearch lan example.org\noptions ndots:2\n';
  const none = { servers: [], search: [], options: [] };
  it.each([
    ['is the machine’s', null, machine, whole],
    ['is the machine’s when all options are empty', none, machine, whole],
    [
      'has the container’s servers with the rest of the machine’s',
      { ...none, servers: ['9.9.9.9'] },
      machine,
      'nameserver 9.9.9.9\nsearch lan example.org\noptions ndots:2\n',
    ],
    [
      'has the container’s own in all three',
      { servers: ['9.9.9.9'], search: ['a', 'b'], options: ['rotate'] },
      machine,
      'nameserver 9.9.9.9\nsearch a b\noptions rotate\n',
    ],
    [
      'has no search list when the container asks for `.`',
      { ...none, search: ['.'] },
      machine,
      'nameserver 192.0.2.53\nnameserver fd00::53\noptions ndots:2\n',
    ],
    [
      'leaves out servers on the machine’s loopback',
      null,
      'nameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver ::1\n',
      'nameserver 192.0.2.1\n',
    ],
    ['has others when the machine’s file cannot be read', null, '', 'nameserver 8.8.8.8\nnameserver 8.8.4.4\n'],
    [
      'passes over what is no address',
      null,
      'nameserver\nnameserver dns.example.org\n',
      'nameserver 8.8.8.8\nnameserver 8.8.4.4\n',
    ],
  ])('%s', (_, own, file, text) => {
    expect(resolvConf(own, [], file)).toBe(text);
  });

  it('has the gateway, which asks the server on the machine’s loopback', () => {
    const gateways = ['172.17.0.1', 'fd00::1'];
    const file = 'nameserver 127.0.0.53\nsearch lan\n';
    expect(resolvConf(null, gateways, file)).toBe('nameserver 172.17.0.1\nnameserver fd00::1\nsearch lan\n');
    expect(resolvConf({ ...none, servers: ['127.0.0.1'] }, gateways, file)).toBe('nameserver 127.0.0.1\nsearch lan\n');
    expect(resolvConf(null, gateways, `${file}nameserver 192.0.2.1\n`)).toContain('nameserver 192.0.2.1\n');
    expect(resolvConf(null, gateways, '')).toContain('nameserver 8.8.8.8\n');
    const asks = (text: string): string[] => machineDns(file, [], () => text).servers;
    expect([asks('nameserver 192.0.2.9\n'), asks('nameserver 127.0.0.1\n'), asks('')]).toEqual([
      ['192.0.2.9'],
      ['8.8.8.8', '8.8.4.4'],
      ['8.8.8.8', '8.8.4.4'],
    ]);
  });
});

// Each text is what Docker 28.5 wrote for the same options and the same file of the machine.
describe('the resolv.conf of a container that finds others by name', () => {
  const head =
    '# Generated by Docker Engine.\n# This file can be edited; Docker Engine will not make further changes once it\n# has been modified.\n\nnameserver 127.0.0.11\n';
  const based = "\n# Based on host file: '/etc/resolv.conf' (internal resolver)\n";
  const machine = 'nameserver 10.255.255.53\n';
  const none = { servers: [], search: [], options: [] };
  it.each([
    [
      'no options',
      null,
      machine,
      `options ndots:0\n${based}# ExtServers: [host(10.255.255.53)]\n# Overrides: []\n# Option ndots from: internal\n`,
    ],
    [
      'a server, domains and ndots',
      { servers: ['127.0.0.5'], search: ['example.com'], options: ['ndots:2'] },
      machine,
      `search example.com\noptions ndots:2\n${based}# ExtServers: [127.0.0.5]\n# Overrides: [nameservers search options]\n# Option ndots from: override\n`,
    ],
    [
      'other options',
      { ...none, options: ['timeout:3', 'rotate'] },
      machine,
      `options timeout:3 rotate ndots:0\n${based}# ExtServers: [host(10.255.255.53)]\n# Overrides: [options]\n# Option ndots from: internal\n`,
    ],
    [
      'two domains',
      { ...none, search: ['a.b', 'c.d'] },
      machine,
      `search a.b c.d\noptions ndots:0\n${based}# ExtServers: [host(10.255.255.53)]\n# Overrides: [search]\n# Option ndots from: internal\n`,
    ],
    [
      'no domain, and a server',
      { servers: ['1.1.1.1'], search: ['.'], options: ['timeout:3'] },
      machine,
      `options timeout:3 ndots:0\n${based}# ExtServers: [1.1.1.1]\n# Overrides: [nameservers search options]\n# Option ndots from: internal\n`,
    ],
  ])('%s', (_, own, file, text) => {
    expect(internalResolvConf(own, file)).toBe(head + text);
  });
});
