/** Builds the small Go programs under test/ against Debian's govmomi package, once per source. */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';

/** Where built programs and Go's build cache are kept between test runs. */
export function testCacheDirectory(): string {
  return process.env.CAISSON_CACHE_DIR ?? join(tmpdir(), 'caisson-test-cache');
}

/**
 * The executable of the program whose `main.go` is in `directory`; built once for each version of the source.
 * Debian ships Go libraries as a GOPATH, so modules are off and nothing is downloaded.
 */
export async function buildGo(directory: string): Promise<string> {
  const source = await readFile(join(directory, 'main.go'));
  const name = `${basename(directory)}-${createHash('sha256').update(source).digest('hex').slice(0, 12)}`;
  const cache = join(testCacheDirectory(), 'go');
  const target = join(cache, name);
  if (existsSync(target)) return target;
  await mkdir(cache, { recursive: true });
  // Built aside and renamed: another test run may be building the same.
  const building = `${target}.${randomBytes(4).toString('hex')}`;
  await promisify(execFile)('go', ['build', '-o', building, '.'], {
    cwd: directory,
    env: {
      ...process.env,
      GO111MODULE: 'off',
      GOPATH: '/usr/share/gocode',
      GOFLAGS: '',
      GOCACHE: join(cache, 'build'),
    },
  });
  await rename(building, target);
  return target;
}
