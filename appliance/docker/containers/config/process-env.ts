/** The environment of a container's processes. */
import type { DockerConfig } from './docker-config.js';

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** An environment with variables set in place or added; a `KEY` without `=` is taken out. */
export function replaceEnv(env: string[], changes: string[]): string[] {
  const nameOf = (entry: string): string => entry.split('=', 1)[0]!;
  const result = new Map(env.map((entry) => [nameOf(entry), entry]));
  for (const entry of changes) {
    const name = nameOf(entry);
    if (entry.includes('=')) result.set(name, entry);
    else result.delete(name);
  }
  return [...result.values()];
}

/** Only an image's environment can have such entries. */
const isNameless = (entry: string): boolean => entry === '' || entry.startsWith('=');

/** The environment of a process of a container: Docker's own variables, overridden by the configured ones. */
export function processEnv(
  config: Pick<DockerConfig, 'Hostname' | 'Env'>,
  tty: boolean,
  links: string[] = [],
): string[] {
  const own = [DEFAULT_PATH, `HOSTNAME=${config.Hostname}`, ...(tty ? ['TERM=xterm'] : []), ...links];
  const named = config.Env.filter((entry) => !isNameless(entry));
  return [...replaceEnv(own, named), ...config.Env.filter(isNameless)];
}
