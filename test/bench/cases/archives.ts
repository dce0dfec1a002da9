/** Images as archives: save, load and import. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BenchCase, docker, type Engine } from '../measure.js';
import { dropImage } from './common.js';

/** Three layers, and one of many files. */
const [LARGE, MANY] = ['bench100', 'bench100k'];

let directory: string | null = null;

/** A place for an archive of an engine. */
export function archive(engine: Engine, what: string): string {
  if (directory === null) {
    const made = mkdtempSync(join(tmpdir(), 'caisson-bench-archive-'));
    process.once('exit', () => rmSync(made, { recursive: true, force: true }));
    directory = made;
  }
  return join(directory, `${engine.name.replaceAll(/\W/g, '-')}-${what}.tar`);
}

const named = (engine: Engine, image: string): string => `${engine.registry}/${image}:latest`;
const pull = (engine: Engine, image: string): Promise<string> => docker(engine, 'pull', '-q', named(engine, image));

/** The large image's files, exported from a container. */
export async function haveFiles(engine: Engine): Promise<string> {
  const path = archive(engine, 'files');
  await pull(engine, LARGE);
  const id = await docker(engine, 'create', named(engine, LARGE), 'x');
  await docker(engine, 'export', '-o', path, id);
  await docker(engine, 'rm', id);
  await dropImage(engine, LARGE);
  return path;
}

/** A save and a load of an image. */
function saveAndLoad(title: string, image: string, runs: Pick<BenchCase, 'runs' | 'cold'>): BenchCase[] {
  const save = (engine: Engine) => docker(engine, 'save', '-o', archive(engine, 'saved'), named(engine, image));
  const prepare = async (engine: Engine) => void (await pull(engine, image));
  const clean = (engine: Engine) => dropImage(engine, image);
  return [
    { ...runs, name: `save, ${title}`, prepare, run: save, clean },
    {
      ...runs,
      name: `load, ${title}`,
      prepare: async (engine) => {
        await prepare(engine);
        await save(engine);
      },
      before: clean,
      run: (engine) => docker(engine, 'load', '-q', '-i', archive(engine, 'saved')),
      clean,
    },
  ];
}

export const archiveCases: BenchCase[] = [
  ...saveAndLoad('3 layers, 100 MB', LARGE, { runs: 5 }),
  ...saveAndLoad('1 layer, 100,000 files', MANY, { runs: 2, cold: true }),
  {
    name: 'import, 100 MB',
    runs: 5,
    prepare: async (engine) => void (await haveFiles(engine)),
    before: (engine) => dropImage(engine, 'bench-imported'),
    run: (engine) => docker(engine, 'import', archive(engine, 'files'), 'bench-imported'),
    clean: (engine) => dropImage(engine, 'bench-imported'),
  },
];
