/** Pulls, and the space that images take. */
import { execFileSync } from 'node:child_process';
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

const large = pullCase('image disk use, 3 layers, 100 MB', 'bench100', 1);

export const imageCases: BenchCase[] = [
  pullCase('pull, 3 layers, 100 MB', 'bench100', 5),
  pullCase('pull, 1 layer, 100,000 files', 'bench100k', 2),
  pullCase('pull, 124 layers', 'bench124', 2),
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
