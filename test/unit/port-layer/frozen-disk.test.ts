/** Commit of a running container: its disk is read while its guest keeps it still. */
import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { frozen, whileStill } from '../../../port-layer/files/frozen-disk.js';
import type { RootFiles } from '../../../port-layer/files/root-files.js';

const noted = (name: string, done: string[], failing: string[] = []): RootFiles => {
  const step = (what: string) => async (): Promise<void> => {
    done.push(`${name}: ${what}`);
    if (failing.includes(what)) throw new Error(`${name} does not ${what}`);
  };
  return { freeze: step('freeze'), finish: step('finish'), close: step('close') } as unknown as RootFiles;
};

const read = async (parts: AsyncIterable<Buffer>): Promise<string[]> => {
  const texts: string[] = [];
  for await (const part of parts) texts.push(part.toString());
  return texts;
};

it('freezes first, then opens the disk, and closes both', async () => {
  const done: string[] = [];
  const still = await frozen(noted('guest', done), async () => {
    done.push('open');
    return noted('disk', done);
  });
  await still.check();
  await still.files.close();
  expect(done).toEqual(['guest: freeze', 'open', 'guest: finish', 'disk: close', 'guest: close']);
});

it.each([
  ['a disk that the host does not give out: the guest reads', async () => Promise.reject(new Error('locked'))],
  ['files that are a disk already', null],
])('%s', async (_what, openDisk) => {
  const done: string[] = [];
  const files = noted('files', done);
  const still = await frozen(files, openDisk);
  await still.check();
  expect(still.files).toBe(files);
  expect(done).toEqual(['files: freeze']);
});

it('what cannot be frozen is not read', async () => {
  const done: string[] = [];
  await expect(frozen(noted('guest', done, ['freeze']), async () => noted('disk', done))).rejects.toThrow('freeze');
  expect(done).toEqual(['guest: freeze']);
});

it('an archive has no end if its files were thawed meanwhile', async () => {
  const tar = (): Readable => Readable.from([Buffer.from('a'), Buffer.from('b'), Buffer.from('end')]);
  const got: string[] = [];
  const broken = (async () => {
    const parts = whileStill(tar(), () => Promise.reject(new Error('thawed')));
    for await (const part of parts) got.push(part.toString());
  })();
  await expect(broken).rejects.toThrow('thawed');
  expect(got).toEqual(['a', 'b']);
  expect(await read(whileStill(tar(), async () => undefined))).toEqual(['a', 'b', 'end']);
  expect(await read(whileStill(Readable.from([]), async () => undefined))).toEqual([]);
});
