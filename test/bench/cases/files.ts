/** Copies in and out, and commits. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BenchCase, docker, type Engine } from '../measure.js';
import { busybox, havePulled, removeNamed } from './common.js';

const COPY_MEGABYTES = 200;
const SMALL_FILES = 5000;

/** Files to copy, created once and removed when the process ends. */
let copied: string | null = null;
function filesToCopy(): string {
  if (copied !== null && existsSync(copied)) return copied;
  const directory = mkdtempSync(join(tmpdir(), 'caisson-bench-copy-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  writeFileSync(join(directory, 'large'), Buffer.alloc(COPY_MEGABYTES * 1_000_000, 'what is copied '));
  for (let i = 0; i < SMALL_FILES; i++) {
    const below = join(directory, 'many', `d${i % 50}`);
    mkdirSync(below, { recursive: true });
    writeFileSync(join(below, `f${i}`), Buffer.alloc(1000 + (i % 3000), 'x'));
  }
  copied = directory;
  return directory;
}

/** The cases for a running or a stopped container. */
function copyCases(what: 'running' | 'stopped'): BenchCase[] {
  const name = `bench-copy-${what}`;
  const prepare = async (engine: Engine): Promise<void> => {
    await havePulled(engine);
    await removeNamed(engine, name);
    const start = what === 'running' ? ['run', '-d'] : ['create'];
    await docker(engine, ...start, '--name', name, busybox(engine), 'sleep', '600');
    await docker(engine, 'cp', join(filesToCopy(), 'large'), `${name}:/large`);
    await docker(engine, 'cp', join(filesToCopy(), 'many'), `${name}:/`);
  };
  const one = (title: string, run: (engine: Engine) => Promise<string>): BenchCase => ({
    name: `${title}, ${what}`,
    runs: 3,
    prepare,
    run,
    clean: (engine) => removeNamed(engine, name),
  });
  return [
    one(`cp ${COPY_MEGABYTES} MB in`, (engine) => docker(engine, 'cp', join(filesToCopy(), 'large'), `${name}:/large`)),
    one(`cp ${COPY_MEGABYTES} MB out`, (engine) =>
      docker(engine, 'cp', `${name}:/large`, join(filesToCopy(), `out-${engine.name}`)),
    ),
    one(`cp ${SMALL_FILES} files in`, (engine) => docker(engine, 'cp', join(filesToCopy(), 'many'), `${name}:/`)),
    one(`cp ${SMALL_FILES} files out`, (engine) =>
      docker(engine, 'cp', `${name}:/many`, join(filesToCopy(), `out-many-${engine.name}`)),
    ),
    one('diff', (engine) => docker(engine, 'diff', name)),
    one(`commit of ${COPY_MEGABYTES} MB`, async (engine) => {
      const id = await docker(engine, 'commit', name);
      await docker(engine, 'rmi', id);
      return id;
    }),
  ];
}

export const fileCases: BenchCase[] = [...copyCases('running'), ...copyCases('stopped')];
