/**
 * Runs a command in a root, with its own namespaces for mounts, processes and, unless it fetches something, network. When the command ends,
 * or this program does, all of its processes and mounts are gone.
 */
import { spawn } from 'node:child_process';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type DebianRoot, projectInRoot } from './debian-root.js';

/**
 * In which a QEMU's launcher marks its user as taken (`USERS_FILE` of `src/hostd/qemu/launcher/launcher.h`). Limits of users hold for the whole
 * machine, so that no two VMs may have the same, in whatever root they run.
 */
const USERS = '/run/caisson.users';

/** Run by sh as the first process of the namespaces: `$1` is the root, the rest the command. */
const ENTER = `set -e
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t sysfs sys "$root/sys" 2>/dev/null || mount --rbind /sys "$root/sys"
mount -t tmpfs run "$root/run"
: >> ${USERS} && : > "$root${USERS}" && mount --bind ${USERS} "$root${USERS}"
mkdir -p "$root/.outside"
cd "$root"
pivot_root . .outside
umount -l /.outside
ip link set lo up
cd ${projectInRoot}
exec "$@"`;

/** How a command in a root ended. */
export interface InRoot {
  code: number;
}

/**
 * @param options.network `machine`: the machine's network, to fetch packages; `none`: only loopback
 * @param options.env environment variables; nothing of this process's environment is passed on
 */
export async function inRoot(
  root: DebianRoot,
  command: string[],
  options: { network: 'machine' | 'none'; env?: Record<string, string> },
): Promise<InRoot> {
  if (options.network === 'machine')
    await copyFile('/etc/resolv.conf', join(root.path, 'etc/resolv.conf')).catch(() => undefined);
  const own = ['-m', '-p', ...(options.network === 'none' ? ['-n'] : []), '-f', '--kill-child'];
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', 'unshare', ...own, 'sh', '-c', ENTER, 'sh', root.path, ...command],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        HOME: '/root',
        TERM: 'dumb',
        LANG: 'C.UTF-8',
        ...options.env,
      },
    },
  );
  const end = (): void => void child.kill('SIGKILL');
  process.once('exit', end);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end);
  try {
    return await new Promise<InRoot>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => resolve({ code: code ?? 1 }));
    });
  } finally {
    process.off('exit', end);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, end);
  }
}
