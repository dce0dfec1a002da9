import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { keepDatastores, keptDatastores } from '../../../src/hostd/datastore/kept-datastores.js';

it('datastores stay as they were kept when new ones cannot be written', () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'caisson-kept-'));
  try {
    expect(keptDatastores({ stateDir })).toEqual([]);
    keepDatastores({ stateDir }, ['one=/a']);
    keepDatastores({ stateDir }, ['one=/a', 'two=/b']);
    mkdirSync(join(stateDir, 'datastores.json.new'));
    expect(() => keepDatastores({ stateDir }, [])).toThrow('EISDIR');
    expect(keptDatastores({ stateDir })).toEqual(['one=/a', 'two=/b']);
  } finally {
    rmSync(stateDir, { recursive: true });
  }
});
