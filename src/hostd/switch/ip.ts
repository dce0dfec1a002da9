/** The commands by which the virtual switch is made: `ip` and `bridge` (iproute2), `nft` (nftables). */
import { spawn } from 'node:child_process';
import { internal } from '../../common/errors.js';

/** A failure names at most this much of what was printed. */
const MAX_MESSAGE = 2000;

/** Commands of one program in one network namespace. */
export interface Step {
  program: 'ip' | 'bridge';
  namespace: string;
  commands: string[];
  /** Each is tried and failures do not count. Otherwise the first that fails ends it. */
  soft?: boolean;
}

/** Runs `ip` with these arguments; returns what it printed. @throws internal with its message */
export function ip(...args: string[]): Promise<string> {
  return run('ip', args, '');
}

/** Runs these commands in one process, in a network namespace; the first that fails ends it. @throws internal with its message */
export async function ipBatch(namespace: string, commands: string[]): Promise<void> {
  await inSteps([{ program: 'ip', namespace, commands }]);
}

/** The same, but each is tried and failures do not count: for removing what may be gone. */
export async function ipTry(namespace: string, commands: string[]): Promise<void> {
  if (commands.length > 0)
    await run('ip', ['-n', namespace, '-force', '-batch', '-'], commands.join('\n')).catch(() => undefined);
}

/** One process for all steps: starting one costs hostd more than what it does. `-force` marks the steps whose failures do not count. */
const STEPS = `while [ $# -gt 0 ]; do
  printf '%s\\n' "$4" | "$2" -n "$3" $1 -batch - || [ -n "$1" ] || exit 1
  shift 4
done`;

/** Runs steps one after the other. @throws internal with the message of the first that fails; what follows is not run */
export async function inSteps(steps: Step[]): Promise<void> {
  const real = steps.filter(({ commands }) => commands.length > 0);
  const [only] = real;
  if (only === undefined) return;
  if (real.length === 1 && only.soft !== true) {
    await run(only.program, ['-n', only.namespace, '-batch', '-'], only.commands.join('\n'));
    return;
  }
  const args = real.flatMap(({ program, namespace, commands, soft }) => [
    soft === true ? '-force' : '',
    program,
    namespace,
    commands.join('\n'),
  ]);
  await run('sh', ['-c', STEPS, 'steps', ...args], '');
}

/** Runs `nft` on this text, in the network namespace at that path: all of it or nothing. @throws internal with its message */
export async function nft(namespacePath: string, text: string): Promise<void> {
  await run('nsenter', [`--net=${namespacePath}`, '--', 'nft', '-f', '-'], text);
}

/** What `nft` has in the network namespace at that path, as JSON. @throws internal with its message */
export function nftList(namespacePath: string, table: string): Promise<string> {
  return run('nsenter', [`--net=${namespacePath}`, '--', 'nft', '--json', 'list', 'table', ...table.split(' ')], '');
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
      const what = program === 'sh' ? 'ip or bridge' : `${program} ${args.join(' ')}`;
      if (code === 0) resolve(output);
      else reject(internal(`${what}: ${message.trim()}`));
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(input === '' ? '' : `${input}\n`);
  });
}
