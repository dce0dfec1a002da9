/** The `ip` command (iproute2), by which the virtual switch is made. */
import { spawn } from 'node:child_process';
import { internal } from '../../common/errors.js';

/** A failure of `ip` names at most this much of what it printed. */
const MAX_MESSAGE = 2000;

/** Runs `ip` with these arguments; returns what it printed. @throws internal with its message */
export function ip(...args: string[]): Promise<string> {
  return run(args, '');
}

/** Runs these commands in one process, in a network namespace; the first that fails ends it. @throws internal with its message */
export async function ipBatch(namespace: string, commands: string[]): Promise<void> {
  if (commands.length > 0) await run(['-n', namespace, '-batch', '-'], commands.join('\n'));
}

/** The same, but each is tried and failures do not count: for removing what may be gone. */
export async function ipTry(namespace: string, commands: string[]): Promise<void> {
  if (commands.length > 0)
    await run(['-n', namespace, '-force', '-batch', '-'], commands.join('\n')).catch(() => undefined);
}

/** Names of the interfaces in a network namespace. */
export async function interfaces(namespace: string): Promise<string[]> {
  const links = JSON.parse((await ip('-n', namespace, '-json', 'link', 'show')) || '[]') as { ifname: string }[];
  return links.map((link) => link.ifname);
}

function run(args: string[], input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('ip', args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let output = '';
    let message = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (message.length < MAX_MESSAGE) message += text;
    });
    child.on('error', (error) => reject(internal(`cannot run ip: ${error.message}`, error)));
    child.on('close', (code) => {
      if (code === 0) resolve(output);
      else reject(internal(`ip ${args.join(' ')}: ${message.trim()}`));
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(input === '' ? '' : `${input}\n`);
  });
}
