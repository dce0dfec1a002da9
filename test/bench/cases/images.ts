/** Pulls, the list of images, and the space that images take. */
import { execFileSync } from 'node:child_process';
import { type BenchCase, docker, dockerWith, type Engine } from '../measure.js';
import { archiveOfImages } from '../small-images.js';
import { archiveCases } from './archives.js';
import { dropImage } from './common.js';
import { pushCases } from './pushes.js';

const LISTED = 500;

/** A pull of an image that is not present. */
function pullCase(title: string, image: string, runs: number): BenchCase {
  const drop = (engine: Engine): Promise<void> => dropImage(engine, image);
  return {
    name: title,
    runs,
    before: drop,
    run: (engine) => docker(engine, 'pull', '-q', `${engine.registry}/${image}:latest`),
    clean: drop,
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

const large = pullCase('image disk use, 3 layers, 100 MB', 'bench100', 1);

export const imageCases: BenchCase[] = [
  pullCase('pull, 3 layers, 100 MB', 'bench100', 5),
  { ...pullCase('pull, 1 layer, 100,000 files', 'bench100k', 2), cold: true },
  pullCase('pull, 124 layers', 'bench124', 2),
  ...archiveCases,
  ...pushCases,
  {
    name: `images, ${LISTED} images`,
    runs: 9,
    prepare: async (engine) => {
      // An engine that is used for other things, too, has some already.
      const there = (await docker(engine, 'images', '-q', '--no-trunc')).split('\n').filter((id) => id !== '');
      const archive = await archiveOfImages('bench-listed', LISTED - new Set(there).size);
      await dockerWith(engine, { input: archive }, 'load', '-q');
    },
    run: (engine) => docker(engine, 'images'),
    clean: async (engine) => {
      const names = (await docker(engine, 'images', '-q', '--no-trunc', 'bench-listed')).split('\n');
      for (let at = 0; at < names.length; at += 100) await docker(engine, 'rmi', '-f', ...names.slice(at, at + 100));
    },
  },
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
