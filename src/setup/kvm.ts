/**
 * `npm run test:kvm [-- SECONDS]`: Caisson with hardware virtualization, even on a machine that has none: in a Debian VM under QEMU's
 * emulation of AMD-V, in which kvm_amd works. There it runs the walk (`test/releases/walk.ts`) with `--accel kvm`: start, run, exec, boot
 * snapshot, resume, warm pool, restart. Everything is emulated twice, so the walk takes 5 minutes, and the whole thing 7. Not part of `npm
 * test`.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { invalid } from '../common/errors.js';
import { cacheDirectory } from '../common/paths.js';
import { say } from './console.js';
import { debianRoot, furnish, rootsDirectory } from './lab/debian-root.js';
import { inRoot } from './lab/enter-root.js';
import { hold } from './lab/hold.js';
import { runMachine } from './lab/kvm-machine.js';
import { exitWith, prepareMachine } from './prepare.js';

const SUITE = 'bookworm';
const LIMIT_SECONDS = 3600;
const root = join(fileURLToPath(import.meta.url), '..', '..', '..', '..');

try {
  const [word = String(LIMIT_SECONDS)] = process.argv.slice(2);
  if (!/^[1-9]\d{0,5}$/.test(word)) throw invalid(`'${word}' is no number of seconds`);
  await prepareMachine({ tests: true });
  const began = Date.now();
  const roots = rootsDirectory(cacheDirectory());
  mkdirSync(roots, { recursive: true });
  const release = await hold(join(roots, `${SUITE}-kvm.lock`));
  const debian = await debianRoot(roots, SUITE, `${SUITE}-kvm`, ['kmod', 'linux-image-amd64', 'udev']);
  await furnish(debian, root);
  const prepared = await inRoot(debian, ['node', 'dist/src/setup/prepare-only.js'], { network: 'machine' });
  const code =
    prepared.code === 0 ? await runMachine(debian, 'node dist/test/releases/walk.js kvm', Number(word)) : prepared.code;
  say(`${code === 0 ? '✓' : '✗'} KVM: ${((Date.now() - began) / 1000).toFixed(0)} s`);
  await release();
  process.exit(code);
} catch (error) {
  exitWith(error);
}
