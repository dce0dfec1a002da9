/** What Docker Engine says of bodies that are no JSON. */
import { expect, it } from 'vitest';
import { jsonProblem } from '../../../appliance/docker/json-problem.js';

it.each([
  ['{invalid json', "invalid character 'i' looking for beginning of object key string"],
  ['{"a":}', "invalid character '}' looking for beginning of value"],
  ['{"Image":"b",}', "invalid character '}' looking for beginning of object key string"],
  ['[1', 'unexpected EOF'],
  ['{"a" 1}', "invalid character '1' after object key"],
  ['x', "invalid character 'x' looking for beginning of value"],
  ['{"a":tru}', "invalid character '}' in literal true (expecting 'e')"],
  ['"', 'unexpected EOF'],
  ['{"a":1]', "invalid character ']' after object key:value pair"],
  ['{"a":"b"x}', "invalid character 'x' after object key:value pair"],
  ['{"a":[1 2]}', "invalid character '2' after array element"],
  ['{"a":01}', "invalid character '1' after object key:value pair"],
  ['{"a":-x}', "invalid character 'x' in numeric literal"],
  ['{"a":1.x}', "invalid character 'x' after decimal point in numeric literal"],
  ['{"a":1e+x}', "invalid character 'x' in exponent of numeric literal"],
  ['{"a":"\\q"}', "invalid character 'q' in string escape code"],
  ['{"a":"\\u12g4"}', "invalid character 'g' in \\u hexadecimal character escape"],
  ['{"a":"\n"}', "invalid character '\\n' in string literal"],
  ['{"a":nul', 'unexpected EOF'],
  ["{'a':1}", "invalid character '\\'' looking for beginning of object key string"],
  ['[1,]', "invalid character ']' looking for beginning of value"],
  ['{\u0001', "invalid character '\\x01' looking for beginning of object key string"],
])('%s', (text, problem) => {
  expect(() => JSON.parse(text)).toThrow();
  expect(jsonProblem(text)).toBe(`invalid JSON: ${problem}`);
});

it('what follows a value, and what is deeper than anything can be', () => {
  expect(jsonProblem('{"Image":1}{')).toBe('unexpected content after JSON');
  expect(jsonProblem(' {} x')).toBe('unexpected content after JSON');
  expect(jsonProblem('['.repeat(1_000_000))).toBe('invalid JSON: exceeded max depth');
});
