import { expect, it } from 'vitest';
import { matchesGlob } from '../../../src/common/glob.js';

it.each([
  ['', '', true],
  ['', '*', true],
  ['a', '', false],
  ['a', '?', true],
  ['ab', '?', false],
  ['a.vmx', '*.vmx', true],
  ['a.vmxf', '*.vmx', false],
  ['abcabd', 'a*bd', true],
  ['abcabd', '*a*a*', true],
  ['abcabd', '*c*c*', false],
  ['a+(b)', 'a+(?)', true],
  ['aaa', '**a**', true],
  ['a.vmdk', '*.vmdk', true],
  ['a.vmdkx', '*.vmdk', false],
  ['', '?', false],
  ['a-b-b-c', 'a*b*c', true],
  ['a-c-b', 'a*b*c', false],
  ['bab', '**a**', true],
  ['abc', 'a.c', false],
  ['a', '[a]', false],
])('%j and %j: %s', (text, pattern, fits) => {
  expect(matchesGlob(text, pattern)).toBe(fits);
});

it('takes no longer with more stars', () => {
  expect(matchesGlob('a'.repeat(255), `${'*a'.repeat(120)}*b`)).toBe(false);
  expect(matchesGlob('a'.repeat(255), `${'*a'.repeat(100)}*b`)).toBe(false);
  expect(matchesGlob('a'.repeat(255), `${'*'.repeat(1_000_000)}b`)).toBe(false);
});
