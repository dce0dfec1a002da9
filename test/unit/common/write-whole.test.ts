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
  it('is one of those that are written at the same time, and all succeed', async () => {
    const path = join(directory, 'record');
    const contents = Array.from({ length: 50 }, (_, i) => `${i}`.repeat(1000));
    await Promise.all(contents.map((content) => writeWhole(path, content, 0o600)));
    expect(contents).toContain(readFileSync(path, 'utf8'));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(directory)).toEqual(['record']);
  });

  it('that cannot be written leaves nothing', async () => {
    await expect(writeWhole(join(directory, 'none', 'record'), '')).rejects.toThrow(/ENOENT/);
    await expect(writeWhole(directory, '')).rejects.toThrow(/EISDIR|ENOTEMPTY|EEXIST/);
    expect(readdirSync(directory)).toEqual(['record']);
  });
});
