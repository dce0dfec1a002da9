/**
 * The last step of a build: writes each program that is started again and again as a single file below `dist/bundled`. Node takes 0.3 to
 * 0.6 s of processor time to find, read and compile hundreds of modules, and a third of that for one file; containers wait for it when a
 * part of the engine is started again. `src/common/programs.ts` tells whether a bundle is there and is that of the present build.
 *
 * Plain JavaScript: the first build of a fresh clone runs it before anything is compiled.
 */
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { BUNDLED, BUNDLED_FROM, buildOf } from '../common/build-of.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const dist = join(root, 'dist');
/** Paths below `dist`. */
const PROGRAMS = [
  'appliance/main.js',
  'appliance/gateway/names/main.js',
  'port-layer/disks/reader/program.js',
  'src/hostd/main.js',
  'src/porter/main.js',
];

/**
 * Modules find files by their own place, which stays where it was compiled to.
 * @param {string} program path of the bundle
 */
const ownPlaces = (program) => ({
  name: 'own-places',
  /** @type {(code: string, id: string) => string | null} */
  transform: (code, id) =>
    id.startsWith(`${dist}/`) && code.includes('import.meta.url')
      ? code.replaceAll(
          'import.meta.url',
          `new URL(${JSON.stringify(relative(dirname(program), id))}, import.meta.url).href`,
        )
      : null,
});

// Endpoints are not root.
process.umask(0o022);
const stamp = join(dist, BUNDLED_FROM);
const build = buildOf(root);
// From here on until the end nobody chooses a bundle. Who has chosen one before finds it whole, the old one or the new one.
rmSync(stamp, { force: true });
for (const path of PROGRAMS) {
  const file = join(dist, BUNDLED, path);
  const bundle = await rolldown({
    input: join(dist, path),
    cwd: root,
    platform: 'node',
    // What a module does when it is loaded is done, whatever its package says: some register things with one another.
    treeshake: { moduleSideEffects: true },
    plugins: [ownPlaces(file)],
    logLevel: 'warn',
  });
  mkdirSync(dirname(file), { recursive: true });
  const { output } = await bundle.generate({ format: 'esm', codeSplitting: false });
  await bundle.close();
  writeFileSync(`${file}.new`, output[0].code);
  renameSync(`${file}.new`, file);
}
writeFileSync(stamp, build);
