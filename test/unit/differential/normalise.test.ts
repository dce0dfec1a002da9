/** The differential suite reports real differences, and none that come from the run itself. */
import { describe, expect, it } from 'vitest';
import { differences } from '../../differential/compare.js';
import { type Known, normalise, normaliseText } from '../../differential/normalise.js';

const ID = `${'0a'.repeat(31)}ff`;
const IMAGE = `sha256:${'1b'.repeat(32)}`;
const known: Known = {
  digests: new Map([[IMAGE, 'image busybox']]),
  words: new Map([['127.0.0.1:40123', 'registry']]),
};

describe('normalisation', () => {
  it.each([
    [ID, '<id>'],
    [ID.slice(0, 12), '<short id>'],
    [IMAGE, '<image busybox>'],
    [`Image ${IMAGE.slice(7, 19)}`, 'Image <image busybox short>'],
    [`sha256:${ID}`, '<digest>'],
    ['2026-11-21T07:00:00.123456789Z', '<time Z>'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00Z'],
    ['Up 3 seconds', 'Up <duration>'],
    ['Exited (0) Less than a second ago', 'Exited (0) <duration> ago'],
    ['172.17.0.2/16', '<address>/16'],
    ['0.0.0.0:32768->80/tcp', '0.0.0.0:<port>->80/tcp'],
    ['0.0.0.0:8080->80/tcp', '0.0.0.0:8080->80/tcp'],
    ['no such container: deadbeef', 'no such container: deadbeef'],
  ])('%s becomes %s', (text, expected) => expect(normaliseText(text, known)).toBe(expected));

  it('removes process ids and chosen ports, and keeps what matters', () => {
    const outcome = normalise(
      {
        status: 200,
        headers: {},
        body: { Pid: 4711, State: { Pid: 0 }, Ports: [{ PublicPort: 32768 }, { PublicPort: 80 }] },
      },
      known,
    );
    expect(outcome).toEqual({
      status: 200,
      headers: {},
      body: { Pid: '<pid>', State: { Pid: 0 }, Ports: [{ PublicPort: '<port>' }, { PublicPort: 80 }] },
    });
  });
});

describe('comparison', () => {
  const body = (value: unknown) => ({ status: 200, headers: {}, body: value });

  it('finds missing and extra fields, other types and other values', () => {
    expect(differences(body({ a: 1, b: [1, { c: null }], d: 'x' }), body({ a: '1', b: [1, {}], e: 2 }))).toEqual([
      { path: 'body.a', reference: 1, ours: '1' },
      { path: 'body.b[1].c', reference: null, ours: undefined },
      { path: 'body.d', reference: 'x', ours: undefined },
      { path: 'body.e', reference: undefined, ours: 2 },
    ]);
  });

  it('tells null from an empty list and from an empty object', () => {
    expect(differences(body({ a: null, b: [], c: {} }), body({ a: [], b: {}, c: null }))).toHaveLength(3);
  });

  it('finds nothing when both are equal', () => {
    expect(differences(body({ a: [1, { b: 2 }] }), body({ a: [1, { b: 2 }] }))).toEqual([]);
  });
});
