import { describe, expect, it } from 'vitest';
import { addressesValue } from '../../../port-layer/exec/vm-spec.js';
import { wholeEndpoint } from '../../../port-layer/network/endpoints.js';
import { changesOf, elementsOf, linkLocal, parseElements, tableText } from '../../../src/hostd/switch/source-rules.js';
import { ADDRESSES_KEY, assignedAddresses } from '../../../src/hostd/vm/assigned-addresses.js';

const MAC = '00:50:56:aa:bb:cc';

describe('source rules', () => {
  it('know the link-local address that a card gives itself', () => {
    expect(linkLocal(MAC)).toBe('fe80::250:56ff:feaa:bbcc');
    expect(linkLocal('02:00:00:00:00:01')).toBe('fe80::ff:fe00:1');
  });

  it('allow assigned addresses, and nothing else', () => {
    const elements = elementsOf('t1n0', { mac: MAC.toUpperCase(), addresses: ['172.16.0.2', 'fd00::2'] });
    expect(Object.fromEntries([...elements].map(([name, list]) => [name, [...list]]))).toEqual({
      macs: [`"t1n0" . ${MAC}`],
      addresses4: ['"t1n0" . 172.16.0.2'],
      addresses6: ['"t1n0" . fd00::2', '"t1n0" . fe80::250:56ff:feaa:bbcc'],
      targets6: ['"t1n0" . 0xfd000000000000000000000000000002', '"t1n0" . 0xfe80000000000000025056fffeaabbcc'],
    });
    expect([...elementsOf('t1n0', { mac: MAC, addresses: undefined }).keys()]).toContain('anyaddress');
    expect([...elementsOf('t1n0', { mac: MAC, addresses: [] }).keys()]).not.toContain('addresses4');
    expect([...elementsOf('t1n0', { mac: MAC, addresses: [], unchecked: true }).keys()]).toEqual(['unchecked']);
    // A card in none of the sets is cut off.
    expect(tableText()).toContain('policy drop');
  });

  it('change only what differs', () => {
    const before = elementsOf('t1n0', { mac: MAC, addresses: ['172.16.0.2'] });
    const after = elementsOf('t1n0', { mac: MAC, addresses: ['172.16.0.3'] });
    expect(changesOf(before, after)).toEqual([
      { verb: 'delete', set: 'addresses4', elements: ['"t1n0" . 172.16.0.2'] },
      { verb: 'add', set: 'addresses4', elements: ['"t1n0" . 172.16.0.3'] },
    ]);
    expect(changesOf(before, before)).toEqual([]);
  });

  it('are recognised as nft lists them, with either form of numbers', () => {
    const set = (name: string, elem: unknown[]): object => ({
      set: { family: 'bridge', table: 'caisson', name, elem },
    });
    const listed = (number: string | number): string =>
      JSON.stringify({
        nftables: [
          { metainfo: {} },
          set('macs', [{ concat: ['t1n0', MAC] }]),
          set('unchecked', ['t2n0']),
          set('addresses6', [{ concat: ['t1n0', 'fe80::250:56ff:feaa:bbcc'] }]),
          set('targets6', [{ concat: ['t1n0', number] }]),
          set('strange', ['t3n0']),
        ],
      });
    for (const number of ['0xfe80000000000000025056fffeaabbcc', '338288524927261089654185625685049654220'])
      expect(
        changesOf(parseElements(listed(number)).get('t1n0')!, elementsOf('t1n0', { mac: MAC, addresses: [] })),
      ).toEqual([]);
    expect([...parseElements(listed('0x1')).keys()]).toEqual(['t1n0', 't2n0']);
  });
});

describe('assigned addresses', () => {
  const read = (text: string) => assignedAddresses(new Map([[ADDRESSES_KEY, text]]));

  it('are read as the port layer writes them', () => {
    const endpoint = wholeEndpoint({ network: 'bridge', prefixLength: 16, gateway: '172.16.0.1' });
    const text = addressesValue([{ ...endpoint, mac: MAC.toUpperCase(), address: '172.16.0.2' }]);
    expect(read(text)).toEqual(new Map([[MAC, ['172.16.0.2']]]));
  });

  it('may be of several cards and both families; anything else is left out', () => {
    expect(read(`${MAC}=172.16.0.2,fd00::2,no,1.2.3.4/8,fe80::1%eth0;junk;02:00:00:00:00:01=`)).toEqual(
      new Map([
        [MAC, ['172.16.0.2', 'fd00::2']],
        ['02:00:00:00:00:01', []],
      ]),
    );
    expect(read(addressesValue([]))).toEqual(new Map());
    expect(read('')).toBeUndefined();
    expect(assignedAddresses(new Map())).toBeUndefined();
    expect(
      read(`${MAC}=${Array.from({ length: 1000 }, (_, n) => `10.0.${n >> 8}.${n & 255}`).join(',')}`)?.get(MAC),
    ).toHaveLength(64);
  });
});
