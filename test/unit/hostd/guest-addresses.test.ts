import { describe, expect, it } from 'vitest';
import { guestAddresses, hasAddress } from '../../../src/hostd/vm/guest-addresses.js';

const told = (value: string): Map<string, string> => new Map([['guestinfo.caisson.run.addresses', value]]);

describe('addresses that the guest reports', () => {
  it('are those of its cards', () => {
    const config = told('00:0C:29:00:00:01=172.16.0.2/16,00:0c:29:00:00:02=fd00::2/64');
    expect([...guestAddresses(config)]).toEqual([
      ['00:0c:29:00:00:01', { ipAddress: '172.16.0.2', prefixLength: 16 }],
      ['00:0c:29:00:00:02', { ipAddress: 'fd00::2', prefixLength: 64 }],
    ]);
    expect(hasAddress(config, 'fd00::2')).toBe(true);
    expect(hasAddress(config, '172.16.0.3')).toBe(false);
    expect(hasAddress(new Map([['guestinfo.ip', '10.0.0.1']]), '10.0.0.1')).toBe(true);
  });

  it.each([
    '',
    'x',
    '00:0c:29:00:00:01=1.2.3/8',
    '00:0c:29:00:00:01=1.2.3.4/33',
    '00:0c:29:00:00:01=1.2.3.4/8 ',
    `${'x'.repeat(1e6)}`,
  ])('are ignored where they are invalid: %.40s', (value) => {
    expect(guestAddresses(told(value)).size).toBe(0);
  });
});
