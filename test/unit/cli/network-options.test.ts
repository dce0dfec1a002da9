import { Command } from 'commander';
import { expect, it } from 'vitest';
import { vchConfigSchema } from '../../../port-layer/config.js';
import { type NetworkOptions, networkOptions, networkSettings } from '../../../src/cli/network-options.js';
import { parseUplinks } from '../../../src/hostd/uplinks.js';
import { VCH_CONFIG } from '../../support/vch-config.js';

const given = (...args: string[]): NetworkOptions =>
  networkOptions(new Command().exitOverride()).parse(args, { from: 'user' }).opts<NetworkOptions>();

it('given options apply, the others keep their earlier value, and each can be put back', () => {
  expect(networkSettings(given())).toEqual({});
  const first = networkSettings(
    given(
      ...[
        '--egress',
        'none',
        '--egress-rate',
        '10mbit',
        '--allow-host-ports',
        '9002,8080,9000-9001',
        '--allow-host-ports',
        '8080',
      ],
      ...['--default-address-pool', 'base=10.20.1.2/16,size=24', '--default-address-pool', 'base=fd00:1::/48,size=64'],
      ...[
        '--allow-network-create',
        'yes',
        '--http-proxy',
        'http://user:secret@proxy:3128',
        '--no-proxy',
        'localhost,.lan',
      ],
    ),
  );
  expect(first).toEqual({
    egress: 'none',
    egressRate: 10_000_000,
    hostPorts: [8080, 9000, 9001, 9002],
    addressPools: [
      { base: '10.20.0.0/16', size: 24 },
      { base: 'fd00:1::/48', size: 64 },
    ],
    allowNetworkCreate: true,
    proxies: { http: 'http://user:secret@proxy:3128', no: 'localhost,.lan' },
  });
  const network = { name: 'bridge', portGroup: 'b', subnet: '172.16.0.0/16' };
  expect(vchConfigSchema.parse({ ...VCH_CONFIG, networks: [network], ...first })).toMatchObject(first);
  expect(networkSettings(given(), first)).toEqual(first);
  const back = given(
    ...[
      '--egress',
      'relay',
      '--egress-rate',
      'none',
      '--allow-host-ports',
      'none',
      '--default-address-pool',
      'default',
    ],
    ...['--allow-network-create', 'no', '--http-proxy', 'none', '--no-proxy', 'none'],
  );
  expect(networkSettings(back, first)).toEqual({ egress: 'relay' });
});

it('refuses what is malformed, and says which option it was', () => {
  expect(() => given('--egress', 'some')).toThrow("--egress 'some' is neither relay nor none");
  expect(() => networkSettings(given('--egress-rate', '10mb'))).toThrow("--egress-rate '10mb' is no rate");
  expect(() => given('--allow-network-create', 'maybe')).toThrow('neither yes nor no');
  for (const ports of ['0', '65536', '9-8', 'http', '1-', '', '8080,none'])
    expect(() => networkSettings(given('--allow-host-ports', ports)), ports).toThrow(
      /--allow-host-ports '.*' is neither/,
    );
  expect(() => networkSettings(given('--allow-host-ports', '50-60'))).toThrow('port 53 of the gateway answers DNS');
  expect(() => networkSettings(given('--allow-host-ports', '1000-1064'))).toThrow('at most 64 ports');
  const pools: [string[], RegExp][] = [
    [['10.0.0.0/8'], /not of the form/],
    [['base=10.0.0.0/8'], /size '' is not/],
    [['size=24'], /base '' is not a network/],
    [['base=10.0.0.0,size=24'], /not a network/],
    [['base=10.0.0.0/16,size=8'], /size 8 is not between 16 and 29/],
    [['base=10.0.0.0/16,size=31'], /size 31 is not between/],
    [['base=10.0.0.0/16,size=24,x=1'], /not of the form/],
    [['base=10.0.0.0/8,size=24', 'base=10.1.0.0/16,size=24'], /10\.0\.0\.0\/8 and 10\.1\.0\.0\/16 overlap/],
    [['base=10.0.0.0/8,size=24', 'default'], /'default'/],
  ];
  for (const [texts, message] of pools)
    expect(
      () => networkSettings(given(...texts.flatMap((text) => ['--default-address-pool', text]))),
      texts.join(' '),
    ).toThrow(message);
  for (const proxy of ['proxy:3128', 'socks5://proxy', 'http://'])
    expect(() => networkSettings(given('--http-proxy', proxy)), proxy).toThrow('http://host:port');
  expect(() => networkSettings(given('--https-proxy', 'ftp://me:secret@proxy'))).toThrow("'ftp://…@proxy'");
  expect(() => networkSettings(given('--no-proxy', 'a b'))).toThrow('not a list of hosts');
});

it('an uplink names a port group and an interface, each once', () => {
  expect(parseUplinks([])).toBeNull();
  expect(parseUplinks(['none'])).toEqual([]);
  expect(parseUplinks([' net=a = eth1', 'other=enp3s0.10'])).toEqual(['net=a=eth1', 'other=enp3s0.10']);
  for (const text of ['eth1', '=eth1', 'net=', 'net=a/b', 'net=averyverylonginterface', 'net=..'])
    expect(() => parseUplinks([text]), text).toThrow('portgroup=interface');
  expect(() => parseUplinks(['net=lo'])).toThrow('loopback');
  expect(() => parseUplinks(['net=eth1', 'other=eth1'])).toThrow('eth1 is given twice');
});
