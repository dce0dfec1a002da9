/** Terminals: the docker CLI under a pseudo terminal, as a user would type. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { run, type Stack } from '../support/stack.js';

type Step = ['expect', string, number] | ['send', string] | ['size', number, number] | ['end', number];

let stack: Stack;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  await stack.docker('pull', 'busybox');
});

afterAll(() => stack?.stop());

const DETACH = '\x10\x11';
const SECONDS = 20;
/** The shell's prompt: it asks the terminal for the cursor position, and briefly waits for an answer. */
const prompt: Step = ['expect', '# ', SECONDS];

/** Types into a docker command. Fails with the whole output when a step does not happen. */
async function sit(args: string[], steps: Step[]): Promise<{ output: string; code: number }> {
  const helper = fileURLToPath(new URL('../support/terminal.py', import.meta.url));
  const outcome = await run('python3', [helper, 'docker', ...args], {
    input: steps.map((step) => `${JSON.stringify(step)}\n`).join(''),
    // Over plain TCP the docker CLI does not recognise its own detach keys, with any engine.
    env: { DOCKER_HOST: `unix://${stack.paths.runDir}/vch/test/docker.sock`, DOCKER_CONFIG: stack.paths.stateDir },
  });
  const { output, code, failed } = JSON.parse(outcome.stdout) as { output: string; code: number; failed: Step | null };
  if (failed !== null)
    throw new Error(`step ${JSON.stringify(failed)} did not come true; printed: ${JSON.stringify(output)}`);
  return { output, code };
}

describe('docker run -it', () => {
  it('has the size of the window, follows its changes, and ends with the shell’s exit code', async () => {
    const { code } = await sit(
      ['run', '--rm', '-it', 'busybox', 'sh'],
      [
        prompt,
        ['size', 40, 132],
        ['send', 'sleep 0.2; stty size; tty\n'],
        ['expect', '40 132', SECONDS],
        ['expect', '/dev/pts/0', SECONDS],
        ['size', 50, 100],
        ['send', 'sleep 0.2; stty size\n'],
        ['expect', '50 100', SECONDS],
        ['send', 'exit 6\n'],
        ['end', SECONDS],
      ],
    );
    expect(code).toBe(6);
  });

  it('passes control characters on', async () => {
    const { code } = await sit(
      [
        'run',
        '--rm',
        '-it',
        'busybox',
        'sh',
        '-c',
        'trap "echo interrupted; exit 9" INT; echo ready; while :; do sleep 0.1; done',
      ],
      [
        ['expect', 'ready', SECONDS],
        ['send', '\x03'],
        ['expect', 'interrupted', SECONDS],
        ['end', SECONDS],
      ],
    );
    expect(code).toBe(9);
  });

  it('detaches with ctrl-p ctrl-q, keeps running, and takes input again when attached', async () => {
    await sit(
      ['run', '-it', '--name', 'kept', 'busybox', 'sh'],
      [prompt, ['send', 'X=here\n'], prompt, ['send', DETACH], ['end', SECONDS]],
    );
    expect((await stack.docker('ps', '--format', '{{.Names}}')).stdout).toBe('kept\n');
    await sit(
      ['attach', 'kept'],
      [
        ['send', 'echo $X again\n'],
        ['expect', 'here again', SECONDS],
        ['send', DETACH],
        ['end', SECONDS],
      ],
    );
    const { code } = await sit(
      ['exec', '-it', 'kept', 'sh'],
      [prompt, ['send', 'tty; exit 4\n'], ['expect', '/dev/pts/1', SECONDS], ['end', SECONDS]],
    );
    expect(code).toBe(4);
    await stack.docker('kill', 'kept');
  });

  it('start -ai attaches to it again', async () => {
    const { code } = await sit(
      ['start', '-ai', 'kept'],
      [prompt, ['send', "echo ba''ck; exit 3\n"], ['expect', 'back', SECONDS], ['end', SECONDS]],
    );
    expect(code).toBe(3);
    await stack.docker('rm', 'kept');
  });

  it('without -t, input is not a terminal; without -i, there is none', async () => {
    const piped = await stack.dockerWith(
      { input: 'one\ntwo\n' },
      'run',
      '--rm',
      '-i',
      'busybox',
      'sh',
      '-c',
      'tty; wc -l',
    );
    expect(piped.stdout).toBe('not a tty\n2\n');
    const none = await stack.dockerWith({ input: 'one\n' }, 'run', '--rm', 'busybox', 'wc', '-l');
    expect(none.stdout).toBe('0\n');
    const noTerminal = await stack.dockerWith({ input: '' }, 'run', '--rm', '-it', 'busybox', 'true');
    expect(noTerminal.stderr).toContain('the input device is not a TTY');
  });
});
