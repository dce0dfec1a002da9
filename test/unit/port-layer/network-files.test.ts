/** A container's /etc/hosts and /etc/resolv.conf. */
import { describe, expect, it } from 'vitest';
import { wholeEndpoint } from '../../../port-layer/network/endpoints.js';
import { type HostsFile, hostsFile } from '../../../port-layer/network/hosts-file.js';
import { resolvConf } from '../../../port-layer/network/resolv-conf.js';
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
    [
      'has servers of its own when the machine has none left',
      null,
      'nameserver 127.0.0.53\n',
      'nameserver 8.8.8.8\nnameserver 8.8.4.4\n',
    ],
    ['has them too when the machine’s file cannot be read', null, '', 'nameserver 8.8.8.8\nnameserver 8.8.4.4\n'],
    [
      'passes over what is no address',
      null,
      'nameserver\nnameserver dns.example.org\n',
      'nameserver 8.8.8.8\nnameserver 8.8.4.4\n',
    ],
  ])('%s', (_, own, file, text) => {
    expect(resolvConf(own, file)).toBe(text);
  });
});
