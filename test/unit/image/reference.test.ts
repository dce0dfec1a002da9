import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  canonicalString,
  familiarName,
  familiarString,
  joinReference,
  parseAnyReference,
  parseReference,
  withDefaultTag,
} from '../../../appliance/image/reference.js';

const HEX = 'a'.repeat(64);
const DIGEST = `sha256:${HEX}`;

describe('parseReference', () => {
  test.each([
    ['busybox', 'docker.io/library/busybox', 'busybox'],
    ['busybox:1.36', 'docker.io/library/busybox:1.36', 'busybox:1.36'],
    ['docker.io/busybox', 'docker.io/library/busybox', 'busybox'],
    ['index.docker.io/library/busybox', 'docker.io/library/busybox', 'busybox'],
    ['me/tool', 'docker.io/me/tool', 'me/tool'],
    ['library/a/b', 'docker.io/library/a/b', 'library/a/b'],
    ['localhost/x', 'localhost/x', 'localhost/x'],
    ['localhost:5000/x', 'localhost:5000/x', 'localhost:5000/x'],
    ['127.0.0.1:5000/x:y', '127.0.0.1:5000/x:y', '127.0.0.1:5000/x:y'],
    ['[::1]:5000/x', '[::1]:5000/x', '[::1]:5000/x'],
    ['ghcr.io/a/b_c/d__e/f-g.h:V1.2-x', 'ghcr.io/a/b_c/d__e/f-g.h:V1.2-x', 'ghcr.io/a/b_c/d__e/f-g.h:V1.2-x'],
    [`busybox@${DIGEST}`, `docker.io/library/busybox@${DIGEST}`, `busybox@${DIGEST}`],
    [`r.io/x:1@${DIGEST}`, `r.io/x:1@${DIGEST}`, `r.io/x:1@${DIGEST}`],
    ['UPPER/x', 'UPPER/x', 'UPPER/x'],
  ])('%s', (text, canonical, familiar) => {
    const reference = parseReference(text);
    expect(canonicalString(reference)).toBe(canonical);
    expect(familiarString(reference)).toBe(familiar);
    expect(familiarName(reference)).toBe(familiar.replace(/@.*$/, '').replace(/(?<!^localhost|\d):[\w.-]+$/, ''));
  });

  test.each([
    ['UPPER', 'invalid reference format: repository name (library/UPPER) must be lowercase'],
    ['x.y/UP', 'invalid reference format: repository name (UP) must be lowercase'],
    ['', 'invalid reference format'],
    ['a//b', 'invalid reference format'],
    ['x:y:z', 'invalid reference format'],
    ['-bad', 'invalid reference format'],
    ['a b', 'invalid reference format'],
    ['x:', 'invalid reference format'],
    [`x:${'t'.repeat(129)}`, 'invalid reference format'],
    ['busybox@sha256:123', 'invalid reference format'],
    [`busybox@sha256:${'a'.repeat(63)}`, 'invalid checksum digest length'],
    [`busybox@md5:${'a'.repeat(32)}`, 'unsupported digest algorithm'],
    [HEX, `invalid repository name (${HEX}), cannot specify 64-byte hexadecimal strings`],
    [`r.io/${'a'.repeat(256)}`, 'repository name must not be more than 255 characters'],
    ['a'.repeat(100_000), 'invalid reference format'],
  ])('refuses %.40s', (text, message) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ kind: 'invalid', message }));
  });

  test('the normal form parses to itself, and no input takes long', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'abZ09._-:/@[]'), maxLength: 400 }), (text) => {
        const started = process.cpuUsage();
        try {
          const reference = parseReference(text);
          expect(parseReference(canonicalString(reference))).toEqual(reference);
          expect(parseReference(familiarString(reference))).toEqual(reference);
        } catch (error) {
          expect(error).toMatchObject({ kind: 'invalid' });
        }
        expect(process.cpuUsage(started).user).toBeLessThan(1_000_000);
      }),
    );
  });
});

test('joinReference takes a tag, a digest, or neither', () => {
  expect(familiarString(joinReference('busybox', ''))).toBe('busybox');
  expect(familiarString(joinReference('busybox', '1'))).toBe('busybox:1');
  expect(familiarString(joinReference('busybox:2', DIGEST))).toBe(`busybox@${DIGEST}`);
  expect(() => joinReference('busybox', 'a b')).toThrow('invalid tag format');
  expect(familiarString(withDefaultTag(parseReference('x')))).toBe('x:latest');
});

test('a full id is an id, a prefix is a name', () => {
  expect(parseAnyReference(HEX)).toEqual({ kind: 'id', id: DIGEST });
  expect(parseAnyReference(DIGEST)).toEqual({ kind: 'id', id: DIGEST });
  expect(parseAnyReference('abc')).toMatchObject({ kind: 'named' });
});
