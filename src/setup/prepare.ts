/**
 * Makes a fresh machine ready: the Debian packages, the kernel (unpacked into a cache, never installed) and the boot image
 * with the tether. Each step first checks whether it was done already, so a second run costs next to nothing.
 */
import { mkdirSync } from 'node:fs';
import { messageOf, unavailable } from '../common/errors.js';
import { cacheDirectory } from '../common/paths.js';
import { qemuCapabilities } from '../hostd/qemu/capabilities.js';
import { prepareBootImage } from './boot-image.js';
import { provideDockerCli } from './docker-cli.js';
import { prepareLauncher, prepareRelay } from './host-programs.js';
import { installPackages, RUN_PACKAGES, TEST_PACKAGES } from './packages.js';
import { provideSocketGroup } from './socket-group.js';

/** @throws unavailable if this user may not run the embedded host */
export function requireRoot(): void {
  if (process.getuid?.() === 0) return;
  throw unavailable(
    'The embedded host makes network namespaces and taps and starts QEMU under a user of its own: it needs root.\nRun the same command as root, for instance with sudo.',
  );
}

/**
 * Prepares the machine for `npm start` and, with `tests`, for `npm test` too.
 * @throws unavailable if something missing cannot be installed, or QEMU cannot be used
 */
export async function prepareMachine(options: { tests: boolean }): Promise<void> {
  requireRoot();
  await installPackages(options.tests ? [...RUN_PACKAGES, ...TEST_PACKAGES] : RUN_PACKAGES);
  await provideSocketGroup();
  mkdirSync(cacheDirectory(), { recursive: true });
  await qemuCapabilities();
  await prepareBootImage({ strict: options.tests });
  await prepareLauncher({ strict: options.tests });
  await prepareRelay({ strict: options.tests });
  if (options.tests) await provideDockerCli(cacheDirectory());
}

/** Ends the program with an error that a person can act on. */
export function exitWith(error: unknown): never {
  process.stderr.write(`\n${messageOf(error)}\n`);
  if (process.env.CAISSON_DEBUG !== undefined && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  process.exit(1);
}
