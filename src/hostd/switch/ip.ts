/** The commands that build the virtual switch: `ip` (iproute2) and `nft` (nftables). Starting a VM does without them (`netlink.ts`). */
import { spawn } from 'node:child_process';
import { internal } from '../../common/errors.js';

/** An error quotes at most this much of what was printed. */
const MAX_MESSAGE = 2000;

/** Runs `ip` with these arguments; returns what it printed. @throws internal with its message */
export function ip(...args: string[]): Promise<string> {
  return run('ip', args, '');
}

/** Runs these commands in one process, in a network namespace; the first that fails ends it. @throws internal with its message */
export async function ipBatch(namespace: string, commands: string[]): Promise<void> {
  if (commands.length > 0) await run('ip', ['-n', namespace, '-batch', '-'], commands.join('\n'));
}

/** The same, but every command is tried and failures are ignored: for removing things that may be gone. */
export async function ipTry(namespace: string, commands: string[]): Promise<void> {
  if (commands.length > 0)
    await run('ip', ['-n', namespace, '-force', '-batch', '-'], commands.join('\n')).catch(() => undefined);
}

/** Runs `nft` on this text, in the network namespace at that path: all of it or nothing. @throws internal with its message */
export async function nft(namespacePath: string, text: string): Promise<void> {
  await run('nsenter', [`--net=${namespacePath}`, '--', 'nft', '-f', '-'], text);
}

/** The nftables rules of the network namespace at that path, as JSON. @throws internal with the message of `nft` */
export function nftList(namespacePath: string, table: string): Promise<string> {
  return run('nsenter', [`--net=${namespacePath}`, '--', 'nft', '--json', 'list', 'table', ...table.split(' ')], '');
}

/** A table without the elements of its sets, as JSON. @param table family and name @throws internal */
export function nftSummary(namespacePath: string, table: string): Promise<string> {
  return inNamespace(namespacePath, 'nft', '--json', '--terse', 'list', 'table', ...table.split(' '));
}

/** The counters of a table, as JSON. @throws internal */
export function nftCounters(namespacePath: string, table: string): Promise<string> {
  return inNamespace(namespacePath, 'nft', '--json', 'list', 'counters', 'table', ...table.split(' '));
}

/** A set of a table, with its elements, as JSON. @param set family, table and name @throws internal */
export function nftSet(namespacePath: string, set: string): Promise<string> {
  return inNamespace(namespacePath, 'nft', '--json', 'list', 'set', ...set.split(' '));
}

/** Families and names of the tables. @throws internal */
export async function nftTables(namespacePath: string): Promise<string[]> {
  const { nftables } = JSON.parse(await inNamespace(namespacePath, 'nft', '--json', 'list', 'tables')) as {
    nftables: { table?: { family: string; name: string } }[];
  };
  return nftables.flatMap(({ table }) => (table === undefined ? [] : [`${table.family} ${table.name}`]));
}

function inNamespace(namespacePath: string, ...command: string[]): Promise<string> {
  return run('nsenter', [`--net=${namespacePath}`, '--', ...command], '');
}

/** Runs a shell script in the network namespace at that path. @throws internal with its message */
export function shellIn(namespacePath: string, script: string): Promise<string> {
  return run('nsenter', [`--net=${namespacePath}`, '--', 'sh', '-s'], script);
}

/** Names of the interfaces in a network namespace. */
export async function interfaces(namespace: string): Promise<string[]> {
  const links = JSON.parse((await ip('-n', namespace, '-json', 'link', 'show')) || '[]') as { ifname: string }[];
  return links.map((link) => link.ifname);
}

function run(program: string, args: string[], input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let output = '';
    let message = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (message.length < MAX_MESSAGE) message += text;
    });
    child.on('error', (error) => reject(internal(`cannot run ${program}: ${error.message}`, error)));
    child.on('close', (code) => {
      if (code === 0) resolve(output);
      else reject(internal(`${program} ${args.join(' ')}: ${message.trim()}`));
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(input === '' ? '' : `${input}\n`);
  });
}
