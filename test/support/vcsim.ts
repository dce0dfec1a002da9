/** A vcsim process for a test: a third-party vCenter or ESX. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { buildGo } from './go.js';

/** A running simulator. */
export interface Vcsim {
  url: string;
  thumbprint: string;
  user: string;
  password: string;
  stop(): Promise<void>;
}

const SOURCE = new URL('../vcsim/vcsim', import.meta.url).pathname;

/** Starts a simulator with govmomi's default inventory of that model on a free port. @param datastores how many it has */
export async function startVcsim(model: 'vpx' | 'esx', datastores = 1): Promise<Vcsim> {
  const program = await buildGo(SOURCE);
  const login = { user: 'administrator', password: 'pass & <word>' };
  const args = ['-user', login.user, '-password', login.password, '-datastores', String(datastores)];
  if (model === 'esx') args.push('-esx');
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const [line] = (await Promise.race([
    once(createInterface({ input: child.stdout }), 'line'),
    once(child, 'exit').then(() => Promise.reject(new Error('vcsim did not start'))),
  ])) as [string];
  const { url, thumbprint } = JSON.parse(line) as { url: string; thumbprint: string };
  return {
    url,
    thumbprint,
    ...login,
    async stop() {
      const ended = once(child, 'exit');
      child.stdin.end();
      await ended;
    },
  };
}
