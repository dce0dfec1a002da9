import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeWhole } from '../../../src/common/write-whole.js';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-whole-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('a file that is written whole', () => {
  it('has the content of one of several concurrent writes, all of which succeed', async () => {
    const path = join(directory, 'record');
    const contents = Array.from({ length: 50 }, (_, i) => `${i}`.repeat(1000));
    await Promise.all(contents.map((content) => writeWhole(path, content, 0o600)));
    expect(contents).toContain(readFileSync(path, 'utf8'));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(directory)).toEqual(['record']);
  });

  it('that cannot be written leaves nothing behind', async () => {
    await expect(writeWhole(join(directory, 'none', 'record'), '')).rejects.toThrow(/ENOENT/);
    await expect(writeWhole(directory, '')).rejects.toThrow(/EISDIR|ENOTEMPTY|EEXIST/);
    expect(readdirSync(directory)).toEqual(['record']);
  });
});
