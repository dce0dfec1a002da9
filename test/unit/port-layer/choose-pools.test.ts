/** Subnets of new networks: what is asked for is checked, the rest is chosen. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AddressPool } from '../../../port-layer/network/address-pool.js';
import { choosePools, ownAddresses, type Sources } from '../../../port-layer/network/choose-pools.js';
import { formatSubnet, overlaps, parseSubnet } from '../../../port-layer/network/cidr.js';
import { routesOf } from '../../../port-layer/network/machine-routes.js';
import type { AskedPool } from '../../../port-layer/network/network-spec.js';
import { sayingAsDocker } from '../../support/docker-words.js';

const subnets = (...texts: string[]) => texts.map((text) => parseSubnet(text)!);
const around = (given: Partial<Sources> = {}): Sources => ({ vch: 'x', networks: [], routes: [], ...given });
const chosen = (pools: AskedPool[], sources: Partial<Sources> = {}, kinds = { ipv4: true, ipv6: false }) =>
  choosePools({ pools, ...kinds }, around(sources));

describe('a network that asks for nothing', () => {
  it.each<[string, string[], string]>([
    ['gets the first of Docker’s subnets', [], '172.17.0.0/16'],
    ['gets the next one', ['172.17.0.0/16', '172.18.0.0/16'], '172.19.0.0/16'],
    ['goes around part of one', ['172.17.4.0/24'], '172.18.0.0/16'],
    ['goes around a larger one', ['172.16.0.0/14'], '172.20.0.0/16'],
    ['gets a /20 after the /16', ['172.16.0.0/12'], '192.168.0.0/20'],
    ['gets the next /20', ['172.16.0.0/12', '192.168.0.0/20'], '192.168.16.0/20'],
  ])('%s', (_, taken, subnet) => {
    expect(chosen([], { networks: subnets(...taken) })).toMatchObject([{ subnet }]);
    // Where the machine's routes lead is as good as taken.
    expect(chosen([], { routes: subnets(...taken) })).toMatchObject([{ subnet }]);
  });

  it('has the first address as its gateway', () => {
    expect(chosen([])).toEqual([{ subnet: '172.17.0.0/16', gateway: '172.17.0.1', aux: {} }]);
  });

  it('gets unique local addresses for IPv6: always the same ones of an engine', () => {
    const [four, six] = chosen([], {}, { ipv4: true, ipv6: true });
    expect(four?.subnet).toBe('172.17.0.0/16');
    expect(six?.subnet).toMatch(/^fd[0-9a-f:]+::\/64$/);
    const [next] = chosen([], { networks: subnets(six!.subnet) }, { ipv4: false, ipv6: true });
    expect(next?.subnet).toMatch(/^fd[0-9a-f:]+:1::\/64$/);
    expect(formatSubnet(ownAddresses('x'))).not.toBe(formatSubnet(ownAddresses('y')));
  });

  it('gets what the configuration says', () => {
    const configured = [
      { base: '10.20.0.0/16', size: 24 },
      { base: 'fd00:1::/32', size: 64 },
    ];
    const both = { ipv4: true, ipv6: true };
    expect(chosen([], { configured }, both).map(({ subnet }) => subnet)).toEqual(['10.20.0.0/24', 'fd00:1::/64']);
    const networks = subnets('10.20.0.0/16');
    expect(sayingAsDocker(() => chosen([], { configured, networks }))).toThrow(
      'all predefined address pools have been fully subnetted',
    );
  });
});

describe('a network that asks for a subnet', () => {
  it('gets it, with what it did not ask for', () => {
    const ipRange = '10.1.0.128/25';
    expect(chosen([{ subnet: '10.1.0.0/24', ipRange, aux: { a: '10.1.0.9' } }])).toEqual([
      // Docker, too, gives the gateway the first address of the range.
      { subnet: '10.1.0.0/24', gateway: '10.1.0.128', ipRange, aux: { a: '10.1.0.9' } },
    ]);
    expect(chosen([{ subnet: 'fd00::/64' }], {}, { ipv4: false, ipv6: true })).toEqual([
      { subnet: 'fd00::/64', gateway: 'fd00::1', aux: {} },
    ]);
  });

  it('keeps one for a kind of address that is off out of its pools', () => {
    expect(chosen([{ subnet: 'fd00::/64' }]).map(({ subnet }) => subnet)).toEqual(['172.17.0.0/16']);
  });

  it.each<[string, AskedPool, string]>([
    ['that overlaps', { subnet: '10.9.1.0/24' }, 'Pool overlaps with other one on this address space'],
    ['that is none', { subnet: 'foo' }, 'invalid subnet foo: invalid CIDR block notation'],
    ['with host bits', { subnet: '10.1.0.5/24' }, 'invalid subnet 10.1.0.5/24: it should be 10.1.0.0/24'],
    ['without the gateway', { subnet: '10.1.0.0/24', gateway: '10.2.0.1' }, 'invalid gateway 10.2.0.1: parent subnet'],
    ['without the range', { subnet: '10.1.0.0/24', ipRange: '10.2.0.0/25' }, 'invalid ip-range 10.2.0.0/25'],
    ['without an address', { subnet: '10.1.0.0/24', aux: { a: '10.2.0.1' } }, 'invalid auxiliary address a'],
    ['whose end is the gateway', { subnet: '10.1.0.0/24', gateway: '10.1.0.255' }, 'failed to allocate gateway'],
    [
      'whose gateway is an auxiliary address too',
      { subnet: '10.1.0.0/24', gateway: '10.1.0.5', aux: { x: '10.1.0.5' } },
      'failed to allocate secondary ip address (x:10.1.0.5): Address already in use',
    ],
    ['that is missing', { gateway: '10.1.0.1' }, 'every ip-range or gateway must have a corresponding subnet'],
  ])('%s is refused in Docker’s words', (_, asked, words) => {
    expect(sayingAsDocker(() => chosen([asked], { networks: subnets('10.9.0.0/16') }))).toThrow(words);
  });

  it('needs a kind of address', () => {
    expect(sayingAsDocker(() => chosen([], {}, { ipv4: false, ipv6: false }))).toThrow('IPv4 or IPv6 must be enabled');
  });
});

it('networks never overlap, whatever is asked for', () => {
  const asked = fc.option(
    fc
      .record({
        second: fc.integer({ min: 0, max: 3 }),
        third: fc.integer({ min: 0, max: 255 }),
        size: fc.integer({ min: 14, max: 30 }),
      })
      .map(({ second, third, size }) => {
        const parsed = parseSubnet(`172.${16 + second}.${third}.0/${size}`)!;
        return { subnet: formatSubnet(parsed) };
      }),
    { nil: null },
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(asked, fc.boolean()), { maxLength: 25 }), (requests) => {
      const networks: string[] = [];
      for (const [subnet, ipv6] of requests) {
        try {
          const made = chosen(
            subnet === null ? [] : [subnet],
            { networks: subnets(...networks) },
            { ipv4: true, ipv6 },
          );
          networks.push(...made.map((pool) => pool.subnet));
        } catch (error) {
          expect(error).toMatchObject({ kind: 'forbidden' });
        }
      }
      const all = subnets(...networks);
      for (const [at, one] of all.entries()) expect(all.slice(0, at).some((other) => overlaps(one, other))).toBe(false);
    }),
    { numRuns: 60 },
  );
});

it('the machine’s routes are read from the kernel’s tables; default and link-local ones are left out', () => {
  const ipv4 = [
    'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT',
    'eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0',
    'eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0',
    'nonsense',
  ].join('\n');
  const zeros = '0'.repeat(32);
  const ipv6 = [
    `fd000000000000000000000000000000 40 ${zeros} 00 ${zeros} 00000100 00000001 00000000 00000001 eth0`,
    `fe800000000000000000000000000000 40 ${zeros} 00 ${zeros} 00000100 00000001 00000000 00000001 eth0`,
    `${zeros} 00 ${zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0`,
  ].join('\n');
  expect(routesOf({ ipv4, ipv6 })).toEqual(subnets('172.17.0.0/16', 'fd00::/64'));
});

describe('the addresses of a subnet', () => {
  const pool = () =>
    new AddressPool({ subnet: '10.0.0.0/28', gateway: '10.0.0.1', aux: { a: '10.0.0.3' }, ipRange: '10.0.0.0/29' });

  it('come from the range, without the gateway and the auxiliary addresses', () => {
    const all = pool();
    expect(['a', 'b', 'c', 'd'].map((owner) => all.take(owner))).toEqual([
      '10.0.0.2',
      '10.0.0.4',
      '10.0.0.5',
      '10.0.0.6',
    ]);
    expect(all.take('e')).toBe('10.0.0.7');
    expect(() => all.take('f')).toThrow(expect.objectContaining({ code: 'network.noAddress' }));
    expect(all.use()).toEqual({ subnet: '10.0.0.0/28', used: 9n, free: 0n });
    // Outside the range, but in the subnet: to be had by asking for it.
    expect(all.ask('10.0.0.12', 'g')).toBe('10.0.0.12');
    expect(() => all.ask('10.0.0.3', 'h')).toThrow(expect.objectContaining({ code: 'network.addressInUse' }));
    expect(() => all.ask('10.0.1.3', 'h')).toThrow(expect.objectContaining({ code: 'network.foreignAddress' }));
  });

  it('stay with a container that does not run, unless they are needed', () => {
    const all = pool();
    const [a, b] = [all.take('a'), all.take('b')];
    all.rest('a');
    expect([all.take('c'), all.take('d'), all.take('e')]).not.toContain(a);
    expect(all.take('a')).toBe(a);
    all.rest('b');
    expect(all.take('f')).toBe(b);
    expect(() => all.take('b')).toThrow(expect.objectContaining({ code: 'network.noAddress' }));
  });

  it('that were asked for are given to nobody who does not ask for them', () => {
    const all = new AddressPool('10.0.0.0/29');
    all.keep('10.0.0.2', 'asker', true);
    expect(['a', 'b', 'c', 'd'].map((owner) => all.take(owner))).not.toContain('10.0.0.2');
    expect(() => all.take('e')).toThrow(expect.objectContaining({ code: 'network.noAddress' }));
    expect(all.ask('10.0.0.2', 'other')).toBe('10.0.0.2');
    expect(() => all.ask('10.0.0.2', 'asker')).toThrow(expect.objectContaining({ code: 'network.addressInUse' }));
  });

  it('may be several runs of addresses, and IPv6', () => {
    const external = new AddressPool({
      subnet: '10.0.0.0/24',
      gateway: '10.0.0.1',
      aux: {},
      ipRange: '10.0.0.8-10.0.0.9, 10.0.0.64/31',
    });
    expect([1, 2, 3, 4].map((n) => external.take(`c${n}`))).toEqual(['10.0.0.8', '10.0.0.9', '10.0.0.64', '10.0.0.65']);
    const six = new AddressPool('fd00::/64');
    expect([six.gateway, six.take('a'), six.take('b')]).toEqual(['fd00::1', 'fd00::2', 'fd00::3']);
    expect(six.use().free).toBe(2n ** 64n - 4n);
  });

  it('never belong to two who run, whatever happens', () => {
    const owner = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
    const address = fc.integer({ min: 0, max: 16 }).map((n) => `10.0.0.${n}`);
    const step = fc.oneof(
      fc.record({ do: fc.constant('take' as const), owner }),
      fc.record({ do: fc.constantFrom('ask' as const, 'keep' as const, 'claim' as const), owner, address }),
      fc.record({ do: fc.constantFrom('rest' as const, 'release' as const), owner }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const all = pool();
        const running = new Map<string, string>();
        for (const one of steps) {
          const forget = (): void => {
            for (const [held, by] of running) if (by === one.owner) running.delete(held);
          };
          try {
            if (one.do === 'rest' || one.do === 'release') {
              all[one.do](one.owner);
              forget();
            } else if (one.do === 'keep') all.keep(one.address, one.owner);
            else {
              const had = 'address' in one ? one.address : all.take(one.owner);
              if (one.do === 'ask') all.ask(had, one.owner);
              if (one.do === 'claim') all.claim(had, one.owner);
              expect([undefined, one.owner]).toContain(running.get(had));
              expect(['10.0.0.0', '10.0.0.1', '10.0.0.3', '10.0.0.15']).not.toContain(had);
              running.set(had, one.owner);
            }
          } catch (error) {
            if (!(error instanceof Error) || !('code' in error)) throw error;
          }
        }
        expect(new Set(all.active())).toEqual(new Set(running.values()));
      }),
    );
  });
});
