import { expect, it } from 'vitest';
import { bitRateText, parseBitRate } from '../../../src/common/bit-rate.js';

it.each([
  ['10mbit', 1e7, '10mbit'],
  ['10MBit', 1e7, '10mbit'],
  ['1.5gbit', 1.5e9, '1500mbit'],
  ['9000', 9000, '9kbit'],
  ['9001bit', 9001, '9001bit'],
  ['1mibit', 1_048_576, '1048576bit'],
  ['2mbps', 1.6e7, '16mbit'],
  ['1tbit', 1e12, '1tbit'],
])('%s is read as tc reads it', (text, bits, shown) => {
  expect(parseBitRate('x', text)).toBe(bits);
  expect(bitRateText(bits)).toBe(shown);
});

it.each([
  '',
  '10',
  '0',
  '-1mbit',
  '10 mbit',
  '10mb',
  '1e6',
  '.5mbit',
  '1.mbit',
  'mbit',
  '2tbit',
  '7kbit',
  '10mbits',
  'NaN',
])('%j is refused', (text) => {
  expect(() => parseBitRate('--egress-rate', text)).toThrow(`--egress-rate '${text}'`);
});
