import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { VchUsers } from '../../../src/hostd/endpoint-vm/vch-users.js';

let root: string;
let taken: Set<number>;
// The machine that runs this test may have endpoints.
const users = (): VchUsers =>
  new VchUsers(
    join(root, 'users.json'),
    () => taken,
    () => new Set(),
  );
const place = (name: string): string => {
  mkdirSync(join(root, name), { recursive: true });
  return join(root, name);
};

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'caisson-users-'));
  taken = new Set();
});
afterEach(() => rmSync(root, { recursive: true }));

it('a VM keeps its two ids, which no other VM has', async () => {
  const all = users();
  const names = Array.from({ length: 60 }, (_, i) => place(`vm${i}`));
  const given = await Promise.all(names.map((name) => all.of(name)));
  const numbers = given.flatMap(({ endpoint, worker }) => [endpoint, worker]);
  expect(new Set(numbers).size).toBe(120);
  expect(Math.min(...numbers)).toBeGreaterThanOrEqual(63_100);
  expect(Math.max(...numbers)).toBeLessThan(64_100);
  const later = users();
  expect(await Promise.all(names.map((name) => later.of(name)))).toEqual(given);
  expect(await later.isAnothers(names[0]!, given[1]!.worker)).toBe(true);
  expect(await later.isAnothers(names[0]!, given[0]!.worker)).toBe(false);
  expect(await later.kept(place('none'))).toBeNull();
});

it('ids used on the machine are avoided; those of removed VMs are reused', async () => {
  for (let number = 63_100; number < 64_098; number++) taken.add(number);
  const last = { endpoint: 64_098, worker: 64_099 };
  expect(await users().of(place('first'))).toEqual(last);
  await expect(users().of(place('second'))).rejects.toThrow('all 500 users');
  rmSync(join(root, 'first'), { recursive: true });
  expect(await users().of(place('second'))).toEqual(last);
});

it('a damaged file is reported, not treated as empty', async () => {
  writeFileSync(join(root, 'users.json'), '{"');
  await expect(users().of(place('vm'))).rejects.toThrow();
});
