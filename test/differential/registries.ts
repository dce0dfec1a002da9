/** The registries that an engine pushes to: of each engine its own, so that it finds there only what it has sent. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { startRegistry } from '../support/registry/registry.js';

/** Who may use the closed registry. */
export const USER = { username: 'dt', password: 'secret' };
const USERS = `${USER.username}:$2b$04$i90Sx/5AKvfzF3EtxhEZz.5wrNS7LWi5zhbWp152PKL/LQ4NeC8f2\n`;

/** Answers each request for a repository `<name>/…` with what a registry says that takes nothing. */
const REFUSALS = {
  denied: [403, 'DENIED', 'requested access to the resource is denied'],
  quota: [403, 'DENIED', 'adding 1 MiB of storage would exceed the configured upper limit of 1 MiB'],
  unsupported: [405, 'UNSUPPORTED', 'The operation is unsupported.'],
} as const;
const REFUSING = `
const refusals = ${JSON.stringify(REFUSALS)};
const server = require('node:http').createServer((request, response) => {
  const [status, code, message] = refusals[request.url.split('/')[2]] ?? [200];
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(code === undefined ? '{}' : JSON.stringify({ errors: [{ code, message, detail: [{ Type: 'repository' }] }] }));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
`;

interface Running {
  address: string;
  stop(): Promise<void>;
}

export interface PushRegistries {
  /** Addresses by the word for them. */
  words: Map<string, string>;
  stop(): Promise<void>;
}

async function startRefusing(through: string[]): Promise<Running> {
  const [program = '', ...args] = [...through, process.execPath, '-e', REFUSING];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const first = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next();
  return {
    address: `127.0.0.1:${first.value}`,
    stop: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** @param through a command that starts a program where the engine can reach it */
export async function startPushRegistries(through: string[]): Promise<PushRegistries> {
  const kinds: Record<string, () => Promise<Running>> = {
    open: () => startRegistry({ through }),
    closed: () => startRegistry({ through, users: USERS }),
    refusing: () => startRefusing(through),
  };
  const running: Running[] = [];
  const stop = async (): Promise<void> => {
    for (const registry of running) await registry.stop();
  };
  const words = new Map<string, string>();
  try {
    for (const [word, start] of Object.entries(kinds)) {
      const registry = await start();
      running.push(registry);
      words.set(word, registry.address);
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { words, stop };
}
