/**
 * A real NFS server (nfs-ganesha) on a network outside of this machine. Its packages are unpacked into the cache and not installed:
 * installing them would start rpcbind and more on the machine.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheDirectory } from '../../src/common/paths.js';
import { openOutsideWorld } from './outside-world.js';

const PACKAGES = ['nfs-ganesha', 'nfs-ganesha-vfs'];
/** What it needs only where it is a service of the machine. */
const SERVICES = new Set(['rpcbind', 'nfs-common', 'keyutils']);

export interface NfsServer {
  address: string;
  /** What is exported as `/data`. */
  directory: string;
  /** The names by which it knows its NFS 4.1 clients. */
  clients(): string[];
  /** It answers nobody any more, as when its machine has died; and again. */
  pause(): void;
  resume(): void;
  stop(): Promise<void>;
}

/** The directory of the unpacked packages. */
function unpacked(): string {
  const place = join(cacheDirectory(), 'nfs-server');
  if (existsSync(place)) return place;
  const draft = `${place}.new`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true });
  const run = (command: string, args: string[]): string =>
    execFileSync(command, args, { cwd: draft, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const plan = run('apt-get', ['install', '--simulate', '--no-install-recommends', ...PACKAGES]);
  const names = [...plan.matchAll(/^Inst (\S+)/gm)].map(([, name]) => name!).filter((name) => !SERVICES.has(name));
  run('apt-get', ['download', '-q', ...new Set([...PACKAGES, ...names])]);
  for (const file of readdirSync(draft).filter((name) => name.endsWith('.deb'))) run('dpkg', ['-x', file, '.']);
  renameSync(draft, place);
  return place;
}

/** Starts one; containers reach it through their gateways. */
export async function startNfsServer(): Promise<NfsServer> {
  const root = unpacked();
  const work = mkdtempSync(join(tmpdir(), 'caisson-nfs-'));
  const [directory, log, config] = [join(work, 'data'), join(work, 'log'), join(work, 'ganesha.conf')];
  for (const path of [directory, join(work, 'recovery', 'v4recov'), join(work, 'recovery', 'v4old')])
    mkdirSync(path, { recursive: true });
  const libraries = join(root, 'usr/lib/x86_64-linux-gnu');
  writeFileSync(
    config,
    `NFS_CORE_PARAM { Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; Plugins_Dir = "${libraries}/ganesha"; }
NFSV4 { Only_Numeric_Owners = true; UseGetpwnam = true; Graceless = true; RecoveryBackend = fs; RecoveryRoot = "${work}/recovery"; }
EXPORT { Export_Id = 1; Path = "${directory}"; Pseudo = "/data"; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; Protocols = 4; Transports = TCP; PrivilegedPort = false; FSAL { Name = VFS; } }
`,
  );
  const world = await openOutsideWorld();
  let server: ChildProcess | null = null;
  const stop = async (): Promise<void> => {
    if (server !== null && server.exitCode === null) {
      server.kill('SIGKILL');
      await once(server, 'close');
    }
    await world.remove();
    rmSync(work, { recursive: true, force: true });
  };
  try {
    const program = join(root, 'usr/bin/ganesha.nfsd');
    const words = [program, '-F', '-f', config, '-L', log, '-p', join(work, 'pid')];
    const env = { ...process.env, LD_LIBRARY_PATH: `${libraries}:${join(root, 'usr/lib/ganesha')}` };
    server = spawn('nsenter', [`--net=${world.netns}`, '--', ...words], { env, stdio: 'ignore' });
    const said = (): string => (existsSync(log) ? readFileSync(log, 'utf8') : '');
    while (!said().includes('NFS SERVER INITIALIZED')) {
      if (server.exitCode !== null) throw new Error(`the NFS server has ended: ${said().slice(-2000)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  } catch (error) {
    await stop();
    throw error;
  }
  const running = server;
  return {
    address: world.address,
    directory,
    // Its notes for a restart: `<address>-(<length>:<name>)`.
    clients: () =>
      readdirSync(join(work, 'recovery', 'v4recov'), { recursive: true, encoding: 'utf8' }).flatMap(
        (path) => /-\(\d+:(.*)\)$/.exec(path)?.[1] ?? [],
      ),
    pause: () => void running.kill('SIGSTOP'),
    resume: () => void running.kill('SIGCONT'),
    stop,
  };
}
