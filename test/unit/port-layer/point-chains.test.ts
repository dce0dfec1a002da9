/** Which neighbours of volumes' chains may become one. */
import { describe, expect, it } from 'vitest';
import { mergeable, withoutPoint } from '../../../port-layer/storage/point-chains.js';
import type { VolumeInfo } from '../../../port-layer/storage/types.js';

const volume = (name: string, points: string, snapshots: string[] = [], pending?: string): VolumeInfo => ({
  ...({ name } as VolumeInfo),
  points: points.split('').filter((one) => one !== ''),
  snapshots: snapshots.map((one) => ({ name: one, createdAt: '', points: one.split(''), capacityBytes: 1 })),
  ...(pending === undefined ? {} : { pending }),
});

describe('neighbours that may become one', () => {
  it.each<[string, VolumeInfo[], string[]]>([
    ['a volume without points', [volume('v', '')], []],
    ['a snapshot', [volume('v', 'a', ['a'])], []],
    ['no snapshot', [volume('v', 'a')], ['v>a']],
    ['a removed one between two', [volume('v', 'cba', ['cba', 'a'])], ['c>b']],
    ['a removed one below all', [volume('v', 'ba', ['ba'])], ['b>a']],
    ['a snapshot without its volume’s disk on it', [volume('v', '', ['ba'])], ['b>a']],
    ['a clone of what the volume had', [volume('v', 'a'), volume('c', 'a')], []],
    ['a clone of a snapshot that is gone', [volume('v', 'ba'), volume('c', 'a')], ['v>b']],
    ['a clone whose source is gone', [volume('c', 'ba')], ['c>b', 'b>a']],
    ['a volume that gets a point', [volume('v', 'ba', [], 'c')], []],
    ['a volume that gets a point, and its clone', [volume('v', 'ba', [], 'c'), volume('d', 'xa')], ['d>x']],
  ])('%s', (_, volumes, pairs) => {
    const found = mergeable(volumes).map(
      ({ upper, lower }) => `${'point' in upper ? upper.point : upper.volume}>${lower}`,
    );
    expect(found).toEqual(pairs);
  });
});

describe('a record without a point', () => {
  it.each<[VolumeInfo, VolumeInfo | null]>([
    [
      volume('v', 'cba', ['ba', 'a']),
      volume(
        'v',
        'ca',
        ['ba', 'a'].map((one) => one.replace('b', '')),
      ),
    ],
    [volume('v', 'ca', ['a']), null],
  ])('%j', (before, after) => {
    const found = withoutPoint(before, 'b');
    expect(found?.points).toEqual(after?.points);
    expect(found?.snapshots?.map((one) => one.points)).toEqual(after?.snapshots?.map((one) => one.points));
  });
});
