/** Streams, limits and environment of a process that a user starts, and files that are not programs. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dockerOk } from '../support/docker-ok.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import type { Stack } from '../support/stack.js';

const IMAGE = 'odd-programs';
const MAKE_PROGRAMS = `
  cd /bin
  echo 'echo hi' > noshebang
  printf '#!/bin/sh\\r\\necho hi\\r\\n' > crlf
  printf '#!/bin/nosuch\\n' > nointerp
  : > empty
  head -c 200 busybox > truncated
  { head -c 18 busybox; printf '\\267\\0'; tail -c +21 busybox; } > foreign
  chmod 755 noshebang crlf nointerp empty truncated foreign
  echo x > plain
  ln -s loop loop
  mkdir -p /var/log/app && ln -s /dev/stdout /var/log/app/access.log && ln -s /dev/stderr /var/log/app/error.log`;

let stack: Stack;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  await dockerOk(stack, 'run', '--name', 'maker', 'busybox', 'sh', '-c', MAKE_PROGRAMS);
  await dockerOk(stack, 'commit', '-c', 'CMD ["sh"]', 'maker', IMAGE);
  await dockerOk(stack, 'rm', 'maker');
});

afterAll(() => stack?.stop());

const run = (options: string[], script: string) => stack.docker('run', '--rm', ...options, IMAGE, 'sh', '-c', script);
const inspect = async (name: string, format: string): Promise<string> =>
  (await dockerOk(stack, 'inspect', '-f', format, name)).trim();

describe('streams belong to the process’s user', () => {
  it.each([
    [['-u', '1000']],
    [['-u', 'nobody', '--read-only', '--cap-drop', 'ALL']],
    [['-u', '1000:55', '--init', '--log-driver', 'none']],
  ])('with %j they can be opened by name', async (options) => {
    const script =
      'echo out > /dev/stdout; echo err > /dev/stderr; echo more >> /var/log/app/access.log; stat -Lc "%u %g %a" /dev/stdout /dev/null; ' +
      'echo fd2 > /proc/self/fd/2';
    const { stdout, stderr, code } = await run(options, script);
    const owner = options[1] === 'nobody' ? 65534 : 1000;
    expect({ stdout, stderr, code }).toEqual({
      stdout: `out\nmore\n${owner} 0 600\n0 0 666\n`,
      stderr: 'err\nfd2\n',
      code: 0,
    });
  });

  it('so can standard input', async () => {
    const outcome = await stack.dockerWith(
      { input: 'in\n' },
      'run',
      '--rm',
      '-i',
      '-u',
      '7',
      IMAGE,
      'cat',
      '/dev/stdin',
    );
    expect(outcome).toEqual({ stdout: 'in\n', stderr: '', code: 0 });
  });

  it('those of another user cannot', async () => {
    const { stdout, stderr } = await run([], 'su -s /bin/sh nobody -c "echo x > /dev/stdout"');
    expect(stdout).toBe('');
    expect(stderr).toContain("can't create /dev/stdout: Permission denied");
  });

  it('a terminal is owned by the user, and keeps the tty group', async () => {
    const script = 'echo hi > /dev/stdout; echo hi > /dev/console; stat -c "%u %g %a" $(tty) /dev/console';
    expect((await run(['-t', '-u', '1000:55'], script)).stdout).toBe('hi\r\nhi\r\n1000 5 620\r\n1000 5 620\r\n');
  });

  it('execs have their own streams; what is written to those of process 1 is the container’s output', async () => {
    await dockerOk(stack, 'run', '-d', '--name', 'owned', '-u', '1000', IMAGE, 'sleep', '600');
    const exec = (user: string, script: string) => stack.docker('exec', '-u', user, 'owned', 'sh', '-c', script);
    expect(await exec('1000', 'echo x > /dev/stdout; echo log > /proc/1/fd/1; echo error > /proc/1/fd/2')).toEqual({
      stdout: 'x\n',
      stderr: '',
      code: 0,
    });
    const other = await exec('77', 'echo own > /dev/stdout; echo no > /proc/1/fd/1');
    expect(other).toMatchObject({ stdout: 'own\n', code: 1 });
    expect(await dockerOk(stack, 'exec', '-t', '-u', '1000', 'owned', 'sh', '-c', 'echo x > $(tty)')).toBe('x\r\n');
    expect(await dockerOk(stack, 'exec', '-t', 'owned', 'sh', '-c', 'stat -c %u $(tty)')).toBe('1000\r\n');
    await expect
      .poll(async () => await stack.docker('logs', 'owned'))
      .toEqual({ stdout: 'log\n', stderr: 'error\n', code: 0 });
    await stack.docker('rm', '-f', 'owned');
  });
});

describe('a program that the kernel refuses', () => {
  it.each([
    [['/bin/noshebang'], 'exec /bin/noshebang: exec format error'],
    [['noshebang'], 'exec /bin/noshebang: exec format error'],
    [['/bin/crlf', 'a'], 'exec /bin/crlf: no such file or directory'],
    [['/bin/empty'], 'exec /bin/empty: exec format error'],
    [['/bin/foreign'], 'exec /bin/foreign: exec format error'],
  ])('%j counts as started, and reports the error in its output', async (command, message) => {
    const outcome = await stack.docker('run', '--name', 'refused', '-u', '1000', IMAGE, ...command);
    expect(outcome).toEqual({ stdout: '', stderr: `${message}\n`, code: 255 });
    expect((await stack.docker('logs', 'refused')).stderr).toBe(`${message}\n`);
    const state = '{{.State.Status}} {{.State.ExitCode}} [{{.State.Error}}] {{.State.StartedAt}}';
    expect(await inspect('refused', state)).toMatch(/^exited 255 \[\] 2/);
    await dockerOk(stack, 'rm', 'refused');
  });

  it('the message is in a terminal’s output, and the restart policy applies', async () => {
    const options = ['-dt', '--restart', 'on-failure:2', '--name', 'again', '-w', '/bin'];
    await dockerOk(stack, 'run', ...options, IMAGE, './nointerp');
    await expect
      .poll(() => inspect('again', '{{.RestartCount}} {{.State.ExitCode}} {{.State.Status}}'))
      .toBe('2 255 exited');
    const line = 'exec ./nointerp: no such file or directory\r\n';
    expect(await dockerOk(stack, 'logs', 'again')).toBe(line.repeat(3));
    await dockerOk(stack, 'rm', 'again');
  });

  it('the same for an exec, a health check and under an init; errors found earlier are start errors', async () => {
    const health = ['--health-cmd', 'exec /bin/truncated', '--health-interval', '1s', '--health-retries', '1'];
    await dockerOk(stack, 'run', '-d', '--name', 'host', '--init', ...health, IMAGE, 'sleep', '600');
    const exec = (...args: string[]) => stack.docker('exec', ...args);
    const busy = 'cp /bin/busybox /tmp/busy; exec 3>>/tmp/busy; sleep 600';
    await dockerOk(stack, 'exec', '-d', 'host', 'sh', '-c', busy);
    expect(await exec('host', 'noshebang')).toEqual({
      stdout: '',
      stderr: 'exec /bin/noshebang: exec format error\n',
      code: 255,
    });
    expect((await exec('-t', 'host', '/bin/crlf')).stdout).toBe('exec /bin/crlf: no such file or directory\r\n');
    expect(await exec('-d', 'host', '/bin/crlf')).toMatchObject({ code: 0 });
    await expect
      .poll(async () => (await exec('host', '/tmp/busy', 'true')).stderr)
      .toBe('exec /tmp/busy: text file busy\n');
    for (const [program, code, words] of [
      ['/bin/plain', 126, 'exec: "/bin/plain": permission denied'],
      ['/bin', 126, 'exec: "/bin": is a directory'],
      ['/bin/nosuch', 127, 'exec: "/bin/nosuch": stat /bin/nosuch: no such file or directory'],
      ['/bin/loop', 128, 'exec: "/bin/loop": stat /bin/loop: too many levels of symbolic links'],
      ['', 127, 'exec: "": executable file not found in $PATH'],
    ] as const) {
      const outcome = await exec('host', program);
      expect(outcome.code).toBe(code);
      expect(outcome.stdout + outcome.stderr).toContain(`unable to start container process: ${words}`);
    }
    await expect.poll(() => inspect('host', '{{.State.Health.Status}}')).toBe('unhealthy');
    await stack.docker('rm', '-f', 'host');
    const loop = await stack.docker('run', '--name', 'never', IMAGE, '/bin/loop');
    expect(loop.code).toBe(125);
    expect(await inspect('never', '{{.State.Status}} {{.State.ExitCode}} {{.State.StartedAt}}')).toBe(
      'created 128 0001-01-01T00:00:00Z',
    );
    await dockerOk(stack, 'rm', 'never');
  });
});

describe('the machine', () => {
  it('shows the container’s id where tools look for it', async () => {
    const script =
      'grep -oE "/containers/[0-9a-f]{64}/(hostname|hosts|resolv.conf) /etc" /proc/self/mountinfo; cat /proc/self/cgroup';
    await dockerOk(stack, 'run', '--name', 'me', '-h', 'other', IMAGE, 'sh', '-c', script);
    const id = await inspect('me', '{{.Id}}');
    expect((await dockerOk(stack, 'logs', 'me')).split('\n').sort()).toEqual([
      '',
      ...['hostname', 'hosts', 'resolv.conf'].map((file) => `/containers/${id}/${file} /etc`),
      '0::/',
    ]);
    await dockerOk(stack, 'rm', 'me');
  });

  it('has the limits that servers need, however small it is', async () => {
    const keys = ['vm/max_map_count', 'kernel/threads-max', 'kernel/pid_max', 'fs/inotify/max_user_watches'];
    const script = `ulimit -u; ulimit -l; ulimit -Hn; cd /proc/sys; cat ${keys.join(' ')} net/ipv4/ip_unprivileged_port_start net/core/somaxconn`;
    const small = await run(['-m', '256m', '-u', '1000'], script);
    const limits = 'unlimited\n8192\n1048576\n';
    expect(small.stdout).toBe(`${limits}1048576\n255000\n4194304\n1048576\n0\n4096\n`);
    const asked = await run(['--ulimit', 'memlock=-1:-1', '--ulimit', 'nproc=65535'], 'ulimit -l; ulimit -u');
    expect(asked.stdout).toBe('unlimited\n65535\n');
  });
});

describe('environments and arguments', () => {
  /** For requests too long for the CLI's command line. Creates a container, or an exec of it. @returns its id */
  const create = async (path: string, body: object): Promise<string> => {
    const answer = await fetch(`http://127.0.0.1:${stack.port}/v1.47${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    const { Id, message } = (await answer.json()) as { Id?: string; message?: string };
    expect(message).toBeUndefined();
    return Id!;
  };
  /** @returns its output on both streams */
  const startExec = async (id: string): Promise<string> => {
    const answer = await fetch(`http://127.0.0.1:${stack.port}/v1.47/exec/${id}/start`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: '{}',
    });
    const bytes = Buffer.from(await answer.arrayBuffer());
    let text = '';
    for (let at = 0; at < bytes.length; at += 8 + bytes.readUInt32BE(at + 4))
      text += bytes.toString('utf8', at + 8, at + 8 + bytes.readUInt32BE(at + 4));
    return text;
  };
  beforeAll(() => dockerOk(stack, 'run', '-d', '--name', 'large', IMAGE, 'sleep', '600'));
  afterAll(() => stack.docker('rm', '-f', 'large'));

  const many = (count: number, length: number): string[] =>
    Array.from({ length: count }, (_, index) => `V${index}=${randomBytes(length / 2).toString('hex')}`);
  const COUNT = 'env | grep -c ^V; printf %s "$A" | wc -c; printf %s "$1" | wc -c';
  const refused = { stdout: '', stderr: 'exec /bin/sh: argument list too long\n', code: 255 };

  it.each([
    ['almost 2 MB', many(1900, 1000), 'A=', { stdout: '1900\n0\n1\n', stderr: '', code: 0 }],
    ['a value of 120,000 bytes and an argument of 131,071', [], 'a'.repeat(120_000), null],
    ['a value of 140,000 bytes', [], 'a'.repeat(140_000), refused],
    ['more than 2 MB', many(2200, 1000), 'A=', refused],
  ])('%s: as the kernel accepts it, for execs too', async (_name, env, value, expected) => {
    const argument = expected === null ? 'b'.repeat(131_071) : 'b';
    const outcome = expected ?? { stdout: '0\n120000\n131071\n', stderr: '', code: 0 };
    const process = {
      Env: [...env, `A=${value === 'A=' ? '' : value}`],
      Cmd: ['sh', '-c', COUNT, 'sh', argument],
    };
    const id = await create('/containers/create', { Image: IMAGE, ...process });
    expect(await stack.docker('start', '-a', id)).toEqual(outcome);
    expect(await inspect(id, '[{{.State.Error}}]')).toBe('[]');
    await dockerOk(stack, 'rm', id);
    const exec = await create('/containers/large/exec', { AttachStdout: true, AttachStderr: true, ...process });
    expect(await startExec(exec)).toBe(outcome.stdout + outcome.stderr);
  });

  it('arrive byte for byte; labels of 500 KB are shown', async () => {
    const odd = ['a.b-c=1', 'X=1=2', 'E=', 'N=line1\nline2', 'U=ü😀', 'sp ace=1', '9=9', 'CR=a\r\n', `Q="q"'s\\`];
    const label = randomBytes(375_000).toString('base64');
    const Cmd = [
      'sh',
      '-c',
      'tr "\\0" "|" < /proc/self/environ; for a; do echo "[$a]"; done',
      'x',
      '',
      'ü',
      'a\nb',
      ' ',
    ];
    const id = await create('/containers/create?name=odd', { Image: IMAGE, Env: odd, Cmd, Labels: { l: label } });
    const { stdout } = await stack.docker('start', '-a', id);
    for (const entry of odd) expect(`|${stdout}`).toContain(`|${entry}|`);
    expect(stdout).toMatch(/\|\[\]\n\[ü\]\n\[a\nb\]\n\[ \]\n$/);
    expect((await inspect('odd', '{{.Config.Labels.l}}')) === label).toBe(true);
    const shown = await dockerOk(stack, 'ps', '-a', '--no-trunc', '--format', '{{.Label "l"}}');
    expect(shown.includes(label)).toBe(true);
    await dockerOk(stack, 'rm', 'odd');
  });

  it('with zero bytes or no name are refused with runc’s messages', async () => {
    const start = async (process: object) =>
      stack.docker('start', '-a', await create('/containers/create', { Image: IMAGE, ...process }));
    expect(await start({ Cmd: ['echo', 'a\0b'] })).toEqual({
      stdout: '',
      stderr: 'exec /bin/echo: invalid argument\n',
      code: 255,
    });
    const words = `environment variable value can't contain null(\\x00): "A=a\\x00b"`;
    expect((await start({ Cmd: ['env'], Env: ['A=a\0b'] })).stderr).toContain(`error during container init: ${words}`);
    const exec = await create('/containers/large/exec', { AttachStdout: true, Cmd: ['env'], Env: ['=x'] });
    expect(await startExec(exec)).toContain(
      'OCI runtime exec failed: exec failed: unable to start container process: environment variable name can\'t be empty: "=x"',
    );
  });
});
