/** What an engine has on the machine besides its state directory: to be compared, so nothing in it differs from one run to the next. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDirectory, type InstancePaths } from '../../src/common/paths.js';

const listed = (directory: string): string[] => {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
};

/** Names of the instance's network namespaces. */
export function namespacesOf({ instance }: InstancePaths): string[] {
  return listed('/run/netns').filter((name) => name === `csn-${instance}` || name.startsWith(`csn-${instance}-`));
}

/** Numbers of network namespaces by which `/proc` names them. */
export function namespaceNumbers(paths: InstancePaths): Set<number> {
  return new Set(namespacesOf(paths).map((name) => statSync(`/run/netns/${name}`).ino));
}

/** Everything that runs for the instance, by number: its name. @param namespaces more of its network namespaces than there are now */
export function processesOf(paths: InstancePaths, namespaces = new Set<number>()): Map<number, string> {
  const known = new Set([...namespaces, ...namespaceNumbers(paths)]);
  const found = new Map<number, string>();
  for (const name of listed('/proc').filter((one) => /^\d+$/.test(one) && Number(one) !== process.pid))
    try {
      const told = ['cmdline', 'environ'].map((file) => readFileSync(`/proc/${name}/${file}`, 'utf8')).join();
      const inside = known.has(Number(/\d+/.exec(readlinkSync(`/proc/${name}/ns/net`))?.[0]));
      if (inside || [paths.stateDir, paths.runDir, `csn-${paths.instance}`].some((one) => told.includes(one)))
        found.set(Number(name), readFileSync(`/proc/${name}/comm`, 'utf8').trim());
    } catch {
      // It has ended.
    }
  return found;
}

/** How many of the instance's processes are names servers: each endpoint has one that serves and, soon after, a spare. */
export function namesServersOf(paths: InstancePaths): number {
  return [...processesOf(paths).keys()].filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('gateway/names/main.js');
    } catch {
      return false;
    }
  }).length;
}

const lines = (command: string, ...args: string[]): string[] =>
  execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    .split('\n')
    .filter((line) => line !== '');

function inSwitch(paths: InstancePaths): string[] {
  const name = `csn-${paths.instance}`;
  if (!namespacesOf(paths).includes(name)) return [];
  const links = lines('ip', '-n', name, '-o', 'link').map((line) => line.split(':')[1]!.trim().replace(/@.*/, ''));
  const rules = lines('nsenter', `--net=/run/netns/${name}`, 'nft', 'list', 'ruleset');
  return [
    ...links.map((link) => `link ${link}`),
    ...rules.map((rule) => `rule ${rule.trim().replace(/ counter.*|,$| \}$|^elements = \{ /g, '')}`),
  ];
}

/** Directories for what endpoints download, of all engines with this cache. */
export const spoolsNow = (): string[] => listed(join(cacheDirectory(), 'spool')).map((name) => `spool ${name}`);

/** @param namespaces as for {@link processesOf} */
export function tracesOf(paths: InstancePaths, namespaces?: Set<number>): string[] {
  const { instance, runDir } = paths;
  const text = (path: string): string[] => readFileSync(path, 'utf8').split('\n');
  const groups = lines('find', '/sys/fs/cgroup', '-type', 'd', '-path', `*${instance}*`);
  const files = listed(runDir).length === 0 ? [] : lines('find', runDir);
  return [
    ...namespacesOf(paths).map((name) => `namespace ${name}`),
    ...inSwitch(paths),
    ...[...processesOf(paths, namespaces).values()].map((name) => `process ${name}`),
    ...text('/proc/net/unix').flatMap((line) => (line.includes(runDir) ? [`socket ${line.split(' ').at(-1)}`] : [])),
    ...files.map((file) => `file ${file}`),
    ...groups.map((group) => `group ${group}`),
    ...text('/proc/self/mountinfo').flatMap((line) => (line.includes(instance) ? [`mount ${line.split(' ')[4]}`] : [])),
    ...spoolsNow(),
  ].sort();
}
