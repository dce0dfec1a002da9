import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const dist = fileURLToPath(new URL('../../../dist/src/common/inherited-descriptors.js', import.meta.url));

test('descriptors that a shell left open are closed and not passed on; the standard streams stay', () => {
  const program = `
    import { closeInherited } from ${JSON.stringify(dist)};
    import { spawnSync } from 'node:child_process';
    closeInherited();
    const list = 'for f in /proc/self/fd/*; do readlink $f; done';
    process.stdout.write(spawnSync('sh', ['-c', list], { encoding: 'utf8' }).stdout);
  `;
  const shell = `exec 9</etc/passwd 63</etc/group 251</etc/hosts; exec "$0" --input-type=module -e "$1"`;
  const seen = execFileSync('bash', ['-c', shell, process.execPath, program], { encoding: 'utf8' });
  expect(seen).not.toMatch(/\/etc\//);
});
