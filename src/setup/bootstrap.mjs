/**
 * The first step of `npm start`, `npm test` and `npm run bench`: plain JavaScript with nothing but Node's own modules, since on a fresh
 * clone there are neither dependencies nor a build yet. Installs the dependencies, builds, and hands over to the compiled program. Skips
 * each step if nothing has changed since the last time.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { hideArguments } from './hide-arguments.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const programs = {
  start: 'src/cli/start.js',
  stop: 'src/cli/stop.js',
  test: 'src/setup/test.js',
  bench: 'test/bench/main.js',
  fsck: 'src/cli/fsck.js',
  fuzz: 'test/fuzz/main.js',
  'test-releases': 'src/setup/releases.js',
  'test-kvm': 'src/setup/kvm.js',
  timeline: 'src/cli/timeline.js',
  'vic-machine': 'src/cli/vic-machine.js',
};

/** @param {string} message */
function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

/**
 * Runs a command, showing its output only if it fails.
 * @param {string} title
 * @param {string} command
 * @param {string[]} args
 * @param {string} [otherwise] what comes of it if this step fails; without it, nothing can go on
 */
function step(title, command, args, otherwise) {
  const started = Date.now();
  process.stderr.write(`→ ${title} …`);
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  if (result.status !== 0) {
    const why = result.error ? result.error.message : `${result.stdout}${result.stderr}`;
    if (otherwise !== undefined) {
      process.stderr.write(` failed: ${otherwise}\n${why.trim()}\n`);
      return;
    }
    fail(` failed\n${why.trim()}\n\n${title}: '${command} ${args.join(' ')}' did not succeed; see above.`);
  }
  process.stderr.write(` ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
}

/**
 * The newest modification time below a directory, in ms.
 * @param {string} directory
 * @returns {number}
 */
function newest(directory) {
  let time = 0;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.name === 'node_modules') continue;
    const path = join(directory, entry.name);
    time = Math.max(time, entry.isDirectory() ? newest(path) : statSync(path).mtimeMs);
  }
  return time;
}

/** @returns {boolean} whether they are others than before */
function installDependencies() {
  const stamp = join(root, 'node_modules', '.caisson-lock');
  const wanted = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .update(process.version)
    .digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return false;
  // Not `npm ci`: it refuses a lock file without the linter's builds for other platforms, which not every registry has.
  step('Installing npm dependencies', 'npm', ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error']);
  writeFileSync(stamp, wanted);
  return true;
}

/** @param {boolean} anyway though no source has changed: bundles contain the dependencies */
function build(anyway) {
  const stamp = join(root, 'dist', '.built');
  const sources = ['src', 'appliance', 'port-layer', 'tether', 'test'].map((name) => newest(join(root, name)));
  const changed = Math.max(...sources, statSync(join(root, 'tsconfig.json')).mtimeMs);
  if (!anyway && existsSync(stamp) && Number(readFileSync(stamp, 'utf8')) >= changed) return;
  step('Building', process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', root]);
  const bundle = [join(root, 'src', 'setup', 'bundle.mjs')];
  step('Bundling', process.execPath, bundle, 'programs are loaded module by module, and take longer to start');
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, String(changed));
}

const [name = '', ...args] = process.argv.slice(2);
hideArguments(args, `caisson ${name}`);
const program = Object.hasOwn(programs, name) ? programs[/** @type {keyof typeof programs} */ (name)] : undefined;
if (program === undefined) fail(`usage: bootstrap ${Object.keys(programs).join('|')} [option …]`);
if (Number(process.versions.node.split('.')[0]) < 20)
  fail(`Caisson needs Node.js 20 or newer; this is ${process.version}.`);
if (process.platform !== 'linux' || process.arch !== 'x64') {
  fail(`Caisson's embedded host runs on 64-bit x86 Linux; this is ${process.platform} on ${process.arch}.`);
}

build(installDependencies());
const path = join(root, 'dist', /** @type {string} */ (program));
process.argv = [process.execPath, path, ...args];
await import(pathToFileURL(path).href);
