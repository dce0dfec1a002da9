import { expect, it } from 'vitest';
import { RelayRates } from '../../../src/porter/relay-rates.js';
import { RelayTotals } from '../../../src/porter/relay-totals.js';

it('what relays have carried is added up, until the address is forgotten', () => {
  const totals = new RelayTotals();
  totals.add([{ address: 'a', bytesIn: 1, bytesOut: 2, flows: 1 }]);
  totals.add([
    { address: 'a', bytesIn: 10, bytesOut: 20, flows: 0 },
    { address: 'b', bytesIn: 5, bytesOut: 0, flows: 1 },
  ]);
  expect(totals.list()).toContainEqual({ address: 'a', bytesIn: 11, bytesOut: 22, flows: 1 });
  totals.forget('a');
  expect(totals.list()).toEqual([{ address: 'b', bytesIn: 5, bytesOut: 0, flows: 1 }]);
  totals.add([{ address: 'a', bytesIn: 1, bytesOut: 0, flows: 1 }]);
  expect(totals.list().at(-1)).toEqual({ address: 'a', bytesIn: 1, bytesOut: 0, flows: 1 });
});

it('a relay hears of rates when they change, and of all when it was started again', () => {
  const told: string[] = [];
  const rates = new RelayRates({ rate: (range, rate) => void told.push(`${range} ${rate}`) });
  rates.setNetwork(['10.0.0.1/16', 'fd00::1/64'], 500, []);
  rates.setNetwork(['10.0.0.1/16', 'fd00::1/64'], 500, ['10.0.0.1/16', 'fd00::1/64']);
  rates.set('10.0.0.2/32', 0);
  rates.set('10.0.0.2/32', 7);
  expect(told).toEqual(['10.0.0.1/16 500', 'fd00::1/64 500', '10.0.0.2/32 7']);
  rates.setNetwork(['10.0.0.9/16'], 0, ['10.0.0.1/16', 'fd00::1/64']);
  expect(told.slice(3)).toEqual(['10.0.0.1/16 0', 'fd00::1/64 0']);
  told.length = 0;
  rates.tellAgain();
  expect(told).toEqual(['10.0.0.2/32 7']);
});
