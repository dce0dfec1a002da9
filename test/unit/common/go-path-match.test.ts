import { describe, expect, it } from 'vitest';
import { BadPattern, pathMatcher } from '../../../src/common/go-path-match.js';

// The answers are those of Go's path.Match.
describe('path.Match', () => {
  it.each([
    ['abc', 'abc', true],
    ['*', 'abc', true],
    ['*c', 'abc', true],
    ['a*', 'a', true],
    ['a*', 'ab/c', false],
    ['a*/b', 'abc/b', true],
    ['a*/b', 'a/c/b', false],
    ['a*b*c*d*e*/f', 'axbxcxdxe/f', true],
    ['a*b*c*d*e*/f', 'axbxcxdxe/xxx/f', false],
    ['a*b?c*x', 'abxbbxdbxebxczzx', true],
    ['a*b?c*x', 'abxbbxdbxebxczzy', false],
    ['ab[c]', 'abc', true],
    ['ab[b-d]', 'abc', true],
    ['ab[e-g]', 'abc', false],
    ['ab[^c]', 'abc', false],
    ['ab[^e-g]', 'abc', true],
    ['a\\*b', 'a*b', true],
    ['a\\*b', 'ab', false],
    ['a?b', 'a☺b', true],
    ['a[^a]b', 'a☺b', true],
    ['[a-ζ]*', 'α', true],
    ['*[a-ζ]', 'A', false],
    ['a?b', 'a/b', false],
    ['a*b', 'a/b', false],
    ['[\\]a]', ']', true],
    ['[\\-x]', '-', true],
    ['[x\\-]', 'z', false],
    ['*x', 'xxx', true],
    ['', '', true],
    ['', 'a', false],
  ])('%s and %s: %s', (pattern, text, matched) => {
    expect(pathMatcher(pattern)(text)).toBe(matched);
  });

  it.each(['[]a]', '[-]', '[x-]', '[-x]', '[a-b-c]', '[', '[^', '[^bc', 'a[', 'a\\', '[\\'])(
    '%s is none',
    (pattern) => {
      expect(() => pathMatcher(pattern)).toThrow(BadPattern);
    },
  );

  it('takes no time for many stars', () => {
    expect(pathMatcher('*a'.repeat(5_000))('a'.repeat(20_000))).toBe(true);
    expect(pathMatcher(`${'*a'.repeat(200)}b`)('a'.repeat(20_000))).toBe(false);
  });
});
