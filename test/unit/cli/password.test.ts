import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { findPassword, PASSWORD_VARIABLE } from '../../../src/cli/password.js';
import { parseTarget } from '../../../src/cli/target.js';
import { secretArguments } from '../../../src/setup/hide-arguments.mjs';

const directory = mkdtempSync(join(tmpdir(), 'caisson-password-'));
afterAll(() => rmSync(directory, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

const nobody = null;

describe('the password', () => {
  it('comes from the option, else the target, else the environment, else the prompt', async () => {
    const typed = async (): Promise<string> => 'typed';
    const variable = (): void => vi.stubEnv(PASSWORD_VARIABLE, 'variable') as never;
    variable();
    expect(await findPassword({ password: 'option' }, 'target', typed)).toBe('option');
    variable();
    expect(await findPassword({}, 'target', typed)).toBe('target');
    variable();
    expect(await findPassword({}, undefined, typed)).toBe('variable');
    expect(process.env[PASSWORD_VARIABLE]).toBeUndefined();
    expect(await findPassword({}, undefined, typed)).toBe('typed');
    expect(await findPassword({}, undefined, nobody)).toBeUndefined();
  });

  it('is the first line of a file', async () => {
    const file = join(directory, 'password');
    writeFileSync(file, ' s p \r\nmore\n');
    expect(await findPassword({ passwordFile: file }, 'target', nobody)).toBe(' s p ');
    await expect(findPassword({ passwordFile: file, password: 'x' }, undefined, nobody)).rejects.toThrow(/exclude/);
    writeFileSync(file, '\n');
    await expect(findPassword({ passwordFile: file }, undefined, nobody)).rejects.toThrow(/empty/);
    await expect(findPassword({ passwordFile: '/nonexistent' }, undefined, nobody)).rejects.toThrow(/ENOENT/);
  });

  it('is not shown in messages about an invalid target', () => {
    expect(() => parseTarget('http://root:secret@h')).toThrow(/root:…@h/);
    expect(() => parseTarget('root:secret@h:port')).toThrow(/root:…@h:port/);
  });
});

it.each([
  [['ls', '--password', 'a b'], ['a b']],
  [['ls', '--password=x=y'], ['x=y']],
  [
    ['create', '--ops-user', 'o', '--ops-password', 'one', '--ops-password=two'],
    ['one', 'two'],
  ],
  [['ls', '--target', 'root:p:w@h:1/dc'], ['p:w']],
  [['ls', '--target=https://root:pw@h'], ['pw']],
  [['ls', '--target', 'h:8989', '--user', 'root', '--password-file', 'f', '--password'], []],
])('the passwords among %j are %j', (args, secrets) => expect(secretArguments(args)).toEqual(secrets));

describe('ps', () => {
  const SECRET = `SeKrit-${randomUUID()}`;
  const program = fileURLToPath(new URL('../../../dist/src/cli/vic-machine.js', import.meta.url));
  let silent: Server;
  beforeAll(async () => {
    silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
  });
  afterAll(() => silent.close());

  /** Processes that show the password. */
  const showing = (): string[] =>
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(SECRET);
        } catch {
          return false;
        }
      });

  it.each([
    ['--password', ['--target', 'TARGET', '--user', 'root', '--password', SECRET]],
    ['--target', ['--target', `root:${SECRET}@TARGET`]],
  ])('does not show a password given by %s, not even in the processes that npm starts', async (_, options) => {
    const target = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const command = [process.execPath, program, 'ls', ...options.map((one) => one.replace('TARGET', target))];
    const connected = once(silent, 'connection');
    // As npm does it; the command after it keeps the shell from replacing itself.
    const shell = spawn('sh', ['-c', `${command.join(' ')}; exit 3`], {
      env: { ...process.env, npm_lifecycle_event: 'vic-machine' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let warned = '';
    shell.stderr.on('data', (data: Buffer) => {
      warned += data.toString();
    });
    const [socket] = (await connected) as [{ destroy(): void }];
    expect(showing()).toEqual([]);
    expect(readFileSync(`/proc/${shell.pid}/cmdline`, 'latin1')).toContain('*'.repeat(SECRET.length));
    socket.destroy();
    // The shell carries on with its next command.
    expect((await once(shell, 'close'))[0]).toBe(3);
    expect(warned).toMatch(/Warning: a password on the command line/);
  });
});
