/** The committed tables are the generator's output for Debian's govmomi. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';

const SOURCE = '/usr/share/gocode/src/github.com/vmware/govmomi/vim25';
const { argv } = process;

afterEach(() => {
  process.argv = argv;
});

it('generates the committed types and table', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'caisson-generate-'));
  try {
    process.argv = [argv[0]!, 'generate', SOURCE, directory];
    await import('../../src/vim25/generate/main.js');
    for (const file of ['types.generated.ts', 'table.generated.json']) {
      const committed = await readFile(new URL(`../../src/vim25/${file}`, import.meta.url), 'utf8');
      expect((await readFile(join(directory, file), 'utf8')) === committed, `${file} is up to date`).toBe(true);
    }
  } finally {
    await rm(directory, { recursive: true });
  }
});
