/** Pushes: of layers that must be compressed, and of an image that the registry has. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { type BenchCase, docker, type Engine } from '../measure.js';
import { archive, haveFiles } from './archives.js';
import { dropImage } from './common.js';

/** Images pushed so far. */
let pushes = 0;
const PUSHED = 'bench-pushed';
const target = (engine: Engine): string => `${engine.registry}/${PUSHED}:latest`;

/**
 * A push of one layer that no registry has. It was never pulled or pushed, so that it must be compressed.
 * @param files makes a tar of its files
 */
function compressed(title: string, runs: number, files: (engine: Engine) => Promise<string>): BenchCase {
  return {
    name: `push, ${title}`,
    runs,
    prepare: async (engine) => {
      const from = await files(engine);
      if (from !== archive(engine, 'files')) copyFileSync(from, archive(engine, 'files'));
    },
    before: async (engine) => {
      await dropImage(engine, PUSHED);
      // Another comment makes no other layer, so a file is added.
      const stamp = archive(engine, `stamp-${pushes++}`);
      writeFileSync(stamp, `${Math.random()}`);
      execFileSync('tar', ['-rf', archive(engine, 'files'), '-C', dirname(stamp), basename(stamp)]);
      await docker(engine, 'import', archive(engine, 'files'), target(engine));
    },
    run: (engine) => docker(engine, 'push', '-q', target(engine)),
    clean: (engine) => dropImage(engine, PUSHED),
  };
}

/** A push of the image that was pulled. @param to the repository, which may differ for each push */
function unchanged(title: string, to: () => string): BenchCase {
  const pulled = (engine: Engine): string => `${engine.registry}/bench100:latest`;
  const names = new Map<Engine, string>();
  return {
    name: `push, 100 MB as pulled, ${title}`,
    runs: 5,
    prepare: async (engine) => void (await docker(engine, 'pull', '-q', pulled(engine))),
    before: async (engine) => {
      const name = `${engine.registry}/${to()}:latest`;
      names.set(engine, name);
      await docker(engine, 'tag', pulled(engine), name);
    },
    run: (engine) => docker(engine, 'push', '-q', names.get(engine)!),
    clean: (engine) => dropImage(engine, 'bench100'),
  };
}

export const pushCases: BenchCase[] = [
  compressed('imported 100 MB', 3, haveFiles),
  { ...compressed('imported 100,000 files', 2, async (engine) => engine.manyFiles), cold: true },
  unchanged('to where it came from', () => 'bench100'),
  unchanged('to another repository', () => `bench-pushed-${pushes++}`),
];
