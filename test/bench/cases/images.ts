/** Pulls, archives, pushes, and the space that images take. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { type BenchCase, docker, type Engine } from '../measure.js';

/** A pull of an image that is not present. */
function pullCase(title: string, image: string, runs: number): BenchCase {
  const name = (engine: Engine): string => `${engine.registry}/${image}:latest`;
  return {
    name: title,
    runs,
    before: async (engine) => {
      await docker(engine, 'rmi', name(engine)).catch(() => '');
    },
    run: (engine) => docker(engine, 'pull', '-q', name(engine)),
    clean: async (engine) => {
      await docker(engine, 'rmi', name(engine));
    },
  };
}

/** Megabytes on disk below a directory. */
function diskUse(directory: string): number {
  const out = execFileSync('du', ['-s', '-x', '-k', directory], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return Number(out.split('\t')[0]) / 1000;
}

const LARGE = 'bench100';
const large100 = (engine: Engine): string => `${engine.registry}/${LARGE}:latest`;

/** An archive of the image of 100 MB, or of its files, for each engine. */
let directory: string | null = null;
function archive(engine: Engine, what: string): string {
  if (directory === null) {
    const made = mkdtempSync(join(tmpdir(), 'caisson-bench-archive-'));
    process.once('exit', () => rmSync(made, { recursive: true, force: true }));
    directory = made;
  }
  return join(directory, `${engine.name.replaceAll(/\W/g, '-')}-${what}.tar`);
}

/** Pushes so far. */
let pushes = 0;

const havePulled = (engine: Engine): Promise<string> => docker(engine, 'pull', '-q', large100(engine));
const dropLarge = (engine: Engine): Promise<string> => docker(engine, 'rmi', '-f', large100(engine)).catch(() => '');

/** The image's files, exported from a container. */
async function haveFiles(engine: Engine): Promise<void> {
  await havePulled(engine);
  const id = await docker(engine, 'create', large100(engine), 'x');
  await docker(engine, 'export', '-o', archive(engine, 'files'), id);
  await docker(engine, 'rm', id);
}

/** How images leave and enter in other ways than by a pull. */
const archiveCases: BenchCase[] = [
  {
    name: 'save, 3 layers, 100 MB',
    runs: 5,
    prepare: async (engine) => void (await havePulled(engine)),
    run: (engine) => docker(engine, 'save', '-o', archive(engine, 'saved'), large100(engine)),
    clean: async (engine) => void (await dropLarge(engine)),
  },
  {
    name: 'load, 3 layers, 100 MB',
    runs: 5,
    prepare: async (engine) => {
      await havePulled(engine);
      await docker(engine, 'save', '-o', archive(engine, 'saved'), large100(engine));
    },
    before: async (engine) => void (await dropLarge(engine)),
    run: (engine) => docker(engine, 'load', '-q', '-i', archive(engine, 'saved')),
    clean: async (engine) => void (await dropLarge(engine)),
  },
  {
    name: 'import, 100 MB',
    runs: 5,
    prepare: haveFiles,
    before: async (engine) => void (await docker(engine, 'rmi', '-f', 'bench-imported').catch(() => '')),
    run: (engine) => docker(engine, 'import', archive(engine, 'files'), 'bench-imported'),
    clean: async (engine) => {
      await docker(engine, 'rmi', '-f', 'bench-imported');
      await dropLarge(engine);
    },
  },
  {
    // Under a new name each time; the layers are known to the registry only under the name that they were pulled by.
    name: 'push, imported 100 MB',
    runs: 3,
    prepare: haveFiles,
    before: async (engine) => {
      // Another comment makes no other layer, so a file is added.
      const stamp = archive(engine, `stamp-${pushes++}`);
      writeFileSync(stamp, `${Math.random()}`);
      execFileSync('tar', ['-rf', archive(engine, 'files'), '-C', dirname(stamp), basename(stamp)]);
      await docker(engine, 'import', archive(engine, 'files'), `${engine.registry}/bench-pushed:latest`);
    },
    run: (engine) => docker(engine, 'push', '-q', `${engine.registry}/bench-pushed:latest`),
    clean: async (engine) => {
      await docker(engine, 'rmi', '-f', `${engine.registry}/bench-pushed:latest`);
      await dropLarge(engine);
    },
  },
];

const large = pullCase('image disk use, 3 layers, 100 MB', 'bench100', 1);

export const imageCases: BenchCase[] = [
  pullCase('pull, 3 layers, 100 MB', 'bench100', 5),
  pullCase('pull, 1 layer, 100,000 files', 'bench100k', 2),
  pullCase('pull, 124 layers', 'bench124', 2),
  ...archiveCases,
  {
    ...large,
    cold: true,
    run: async (engine) => {
      const before = diskUse(engine.root);
      await large.run(engine);
      return { '': { value: diskUse(engine.root) - before, unit: 'MB' } };
    },
  },
];
