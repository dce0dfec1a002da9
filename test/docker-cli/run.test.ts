/** `docker run` and the life cycle of a container, as a user would type it, against real virtual machines. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startMirroredStack } from '../support/mirrored-stack.js';
import type { Stack } from '../support/stack.js';

let stack: Stack;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox', 'hello']);
  const pulled = await stack.docker('pull', 'busybox');
  expect(pulled.stdout).toContain('Status: Downloaded newer image for busybox:latest');
});

afterAll(() => stack?.stop());

const run = (...args: string[]) => stack.docker('run', ...args);

describe('docker run', () => {
  it('keeps stdout and stderr apart and ends with the exit code of the process', async () => {
    const outcome = await run('--rm', 'busybox', 'sh', '-c', 'echo out; echo err >&2; exit 7');
    expect(outcome).toEqual({ stdout: 'out\n', stderr: 'err\n', code: 7 });
  });

  it('pulls a missing image, and runs an image FROM scratch with one static binary', async () => {
    const outcome = await run('--rm', 'hello');
    expect(outcome.stderr).toContain('Unable to find image');
    expect(outcome.stdout).toMatch(/hello/i);
    expect(outcome.code).toBe(0);
  });

  it.each([
    [['nosuch'], 127, 'exec: "nosuch": executable file not found in $PATH'],
    [['/nosuch'], 127, 'exec: "/nosuch": stat /nosuch: no such file or directory'],
    [['/etc/passwd'], 126, 'exec: "/etc/passwd": permission denied'],
  ])('%j ends with %i and says why', async (command, code, message) => {
    const outcome = await run('--rm', 'busybox', ...command);
    expect(outcome.code).toBe(code);
    expect(outcome.stderr).toContain(`unable to start container process: ${message}`);
  });

  it('sets environment, directory, user, groups, host name and labels', async () => {
    const script = 'echo $A $HOSTNAME $HOME; pwd; id; hostname';
    const outcome = await run(
      '--rm',
      '-e',
      'A=1',
      '-w',
      '/made/up',
      '-u',
      'www-data',
      '-h',
      'box',
      '-l',
      'k=v',
      'busybox',
      'sh',
      '-c',
      script,
    );
    const [variables, directory, id, host] = outcome.stdout.split('\n');
    expect(variables).toBe('1 box /var/www');
    expect(directory).toBe('/made/up');
    expect(id).toMatch(/^uid=33\(www-data\) gid=33\(www-data\) groups=33\(www-data\)/);
    expect(host).toBe('box');
    expect((await run('--rm', '-u', '1234:5678', 'busybox', 'id')).stdout).toContain('uid=1234 gid=5678');
    const unknown = await run('--rm', '-u', 'nobody-here', 'busybox', 'true');
    expect(unknown.stderr).toContain('unable to find user nobody-here: no matching entries in passwd file');
    expect(unknown.code).not.toBe(0);
  });

  it('passes piped input on and closes it at its end', async () => {
    const input = `${'x'.repeat(200_000)}\n`;
    const outcome = await stack.dockerWith({ input }, 'run', '--rm', '-i', 'busybox', 'wc', '-c');
    expect(outcome).toMatchObject({ stdout: '200001\n', code: 0 });
  });

  it('has process 1, the usual mounts and devices, and Docker’s capabilities', async () => {
    const outcome = await run(
      '--rm',
      'busybox',
      'sh',
      '-c',
      'echo $$; grep CapEff /proc/self/status; cut -d" " -f2 /proc/mounts; ls /dev',
    );
    expect(outcome.stdout).toMatch(/^1\nCapEff:\t00000000a80425fb\n/);
    for (const mount of [
      '/',
      '/proc',
      '/sys',
      '/dev',
      '/dev/pts',
      '/dev/shm',
      '/dev/mqueue',
      '/etc/hosts',
      '/etc/hostname',
      '/etc/resolv.conf',
    ]) {
      expect(outcome.stdout.split('\n')).toContain(mount);
    }
    expect(outcome.stdout).toMatch(/\bnull\n/);
  });

  it('sizes the machine as requested', async () => {
    const outcome = await run(
      '--rm',
      '-m',
      '256m',
      '--cpus',
      '1.5',
      'busybox',
      'sh',
      '-c',
      'nproc; grep MemTotal /proc/meminfo',
    );
    const [processors, memory] = outcome.stdout.split('\n');
    expect(processors).toBe('2');
    const kilobytes = Number(/(\d+) kB/.exec(memory ?? '')?.[1]);
    expect(kilobytes).toBeGreaterThan(200_000);
    expect(kilobytes).toBeLessThan(340_000);
  });

  it('has a clock that keeps pace with the host’s, even if the host is busy while it boots', async () => {
    // A unique size: it is booted, or resumed from a VM that was booted for this test.
    await run('-d', '--name', 'clock', '-m', '333m', 'busybox', 'sleep', '1000');
    const now = (): number => performance.now() / 1000;
    // The guest's time was read between the host's two.
    const seconds = async (): Promise<{ guest: number; before: number; after: number }> => {
      const before = now();
      const { stdout } = await stack.docker('exec', 'clock', 'cat', '/proc/uptime');
      return { guest: Number(stdout.split(' ')[0]), before, after: now() };
    };
    const first = await seconds();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const second = await seconds();
    const passed = second.guest - first.guest;
    expect(passed).toBeGreaterThan((second.before - first.after) * 0.5);
    expect(passed).toBeLessThan((second.after - first.before) * 2);
    await stack.docker('rm', '-f', 'clock');
  });

  it('refuses unsupported options by name', async () => {
    const outcome = await run('--rm', '-v', '/tmp:/host', 'busybox', 'true');
    expect(outcome.stderr).toContain("HostConfig.Binds '/tmp:/host' is not implemented");
    expect(outcome.code).toBe(125);
    expect((await run('--rm', '--pid', 'host', 'busybox', 'true')).stderr).toContain(
      "HostConfig.PidMode 'host' is not implemented",
    );
  });
});

describe('the life cycle of a container', () => {
  it('is listed, logged, inspected, stopped, started again with its files, and removed', async () => {
    const script =
      'trap "echo bye; exit 3" TERM; echo started; test -f /kept && cat /kept; echo was here > /kept; while :; do sleep 0.1; done';
    expect((await run('-d', '--name', 'web', '-l', 'role=web', 'busybox', 'sh', '-c', script)).stdout).toMatch(
      /^[0-9a-f]{64}\n$/,
    );
    expect((await stack.docker('ps', '--format', '{{.Names}} {{.State}}')).stdout).toBe('web running\n');
    const address = (
      await stack.docker(
        'inspect',
        '-f',
        '{{.NetworkSettings.IPAddress}} {{.NetworkSettings.MacAddress}} {{.State.Running}}',
        'web',
      )
    ).stdout;
    expect(address).toMatch(/^172\.16\.\d+\.\d+ ([0-9a-f]{2}:){5}[0-9a-f]{2} true\n$/);
    // Before that it ignores the signal, as process 1 does.
    await expect.poll(async () => (await stack.docker('logs', 'web')).stdout).toBe('started\n');
    const waiting = stack.docker('wait', 'web');
    expect((await stack.docker('stop', 'web')).code).toBe(0);
    expect((await waiting).stdout).toBe('3\n');
    expect((await stack.docker('logs', 'web')).stdout).toBe('started\nbye\n');
    expect((await stack.docker('ps', '-a', '--filter', 'label=role=web', '--format', '{{.Status}}')).stdout).toMatch(
      /^Exited \(3\)/,
    );
    expect((await stack.docker('start', 'web')).code).toBe(0);
    expect((await stack.docker('restart', '-t', '5', 'web')).code).toBe(0);
    await expect
      .poll(async () => (await stack.docker('logs', '--tail', '2', 'web')).stdout)
      .toBe('started\nwas here\n');
    const stamped = (await stack.docker('logs', '-t', '--since', '1h', 'web')).stdout.split('\n')[0];
    expect(stamped).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z started$/);
    const running = await stack.docker('rm', 'web');
    expect(running.stderr).toContain('container is running: stop the container before removing or force remove');
    expect((await stack.docker('rm', '-f', 'web')).code).toBe(0);
    expect((await stack.docker('inspect', 'web')).stderr).toMatch(/no such object: web/i);
  });

  it('takes any signal, and kills', async () => {
    await run(
      '-d',
      '--name',
      'sig',
      'busybox',
      'sh',
      '-c',
      'trap "echo usr1" USR1; echo ready; while :; do sleep 0.1; done',
    );
    await expect.poll(async () => (await stack.docker('logs', 'sig')).stdout).toBe('ready\n');
    expect((await stack.docker('kill', '-s', 'USR1', 'sig')).code).toBe(0);
    await expect.poll(async () => (await stack.docker('logs', 'sig')).stdout).toBe('ready\nusr1\n');
    const nonsense = await stack.docker('kill', '-s', 'NOPE', 'sig');
    expect(nonsense.stderr).toContain('invalid signal: NOPE');
    expect((await stack.docker('kill', 'sig')).code).toBe(0);
    expect((await stack.docker('inspect', '-f', '{{.State.Status}} {{.State.ExitCode}}', 'sig')).stdout).toBe(
      'exited 137\n',
    );
    await stack.docker('rm', 'sig');
  });

  it('runs further processes', async () => {
    await run('-d', '--name', 'box', 'busybox', 'sleep', '600');
    expect(await stack.docker('exec', 'box', 'sh', '-c', 'echo in; echo e >&2; exit 5')).toEqual({
      stdout: 'in\n',
      stderr: 'e\n',
      code: 5,
    });
    expect(
      (await stack.docker('exec', '-e', 'B=2', '-w', '/tmp', '-u', 'daemon', 'box', 'sh', '-c', 'echo $B; pwd; id -u'))
        .stdout,
    ).toBe('2\n/tmp\n1\n');
    expect((await stack.dockerWith({ input: 'to be read\n' }, 'exec', '-i', 'box', 'cat')).stdout).toBe('to be read\n');
    expect((await stack.docker('exec', 'box', 'nosuch')).code).toBe(127);
    const many = await Promise.all(Array.from({ length: 8 }, (_, i) => stack.docker('exec', 'box', 'echo', String(i))));
    expect(many.map((one) => one.stdout)).toEqual(Array.from({ length: 8 }, (_, i) => `${i}\n`));
    await stack.docker('rm', '-f', 'box');
  });

  it('follows the log as it grows, and ends with the container', async () => {
    await run('-d', '--name', 'ticks', 'busybox', 'sh', '-c', 'for i in 1 2 3 4 5; do echo tick $i; sleep 0.3; done');
    const followed = await stack.docker('logs', '-f', 'ticks');
    expect(followed.stdout).toBe('tick 1\ntick 2\ntick 3\ntick 4\ntick 5\n');
    await stack.docker('start', 'ticks');
    const tail = await stack.docker('logs', '-f', '--tail', '1', 'ticks');
    expect(tail.stdout).toMatch(/^(tick \d\n)*tick 5\n$/);
    expect(tail.stdout.split('\n').length).toBeLessThan(8);
    await stack.docker('rm', 'ticks');
  });

  it('refuses a name in use with Docker’s message', async () => {
    await stack.docker('create', '--name', 'taken', 'busybox', 'true');
    const again = await stack.docker('create', '--name', 'taken', 'busybox', 'true');
    expect(again.stderr).toContain('Conflict. The container name "/taken" is already in use by container');
    await stack.docker('rm', 'taken');
  });
});

describe('networks', () => {
  it('publishes a port, and containers reach each other by address', async () => {
    await run(
      '-d',
      '--name',
      'srv',
      '-p',
      '127.0.0.1:0:80',
      'busybox',
      'sh',
      '-c',
      'mkdir /www; echo it works > /www/index.html; httpd -f -p 80 -h /www',
    );
    const published = (await stack.docker('port', 'srv', '80')).stdout.trim();
    await expect
      .poll(async () =>
        fetch(`http://${published}/`).then(
          (answer) => answer.text(),
          () => '',
        ),
      )
      .toBe('it works\n');
    const address = (await stack.docker('inspect', '-f', '{{.NetworkSettings.IPAddress}}', 'srv')).stdout.trim();
    expect((await run('--rm', 'busybox', 'wget', '-qO-', `http://${address}/`)).stdout).toBe('it works\n');
    const port = published.split(':')[1]!;
    const taken = await run('--rm', '-p', `127.0.0.1:${port}:80`, 'busybox', 'true');
    expect(taken.stderr).toContain(`Bind for 127.0.0.1:${port} failed: port is already allocated`);
    expect(taken.code).toBe(125);
    await stack.docker('rm', '-f', 'srv');
    await expect(fetch(`http://${published}/`)).rejects.toThrow();
  });

  it('a port in use fails the start with Docker’s message until it is free, and rm frees it at once', async () => {
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const { port } = holder.address() as AddressInfo;
    const serve = 'mkdir /www; echo it works > /www/index.html; httpd -f -p 80 -h /www';
    const program = ['--name', 'held', '-p', `127.0.0.1:${port}:80`, 'busybox', 'sh', '-c', serve];
    const held = await run('-d', ...program);
    expect(held.code).toBe(125);
    const words = `failed to bind host port for 127.0.0.1:${port}:80/tcp: address already in use`;
    expect(held.stderr).toContain(words);
    const state = async (): Promise<string> =>
      (await stack.docker('inspect', '-f', '{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}', 'held')).stdout;
    expect(await state()).toMatch(/^created 128 failed to set up container networking: /);
    expect(await state()).toContain(words);
    await new Promise((closed) => holder.close(closed));
    await stack.docker('start', 'held');
    expect(await state()).toBe('running 0 \n');
    await expect
      .poll(() =>
        fetch(`http://127.0.0.1:${port}/`).then(
          (answer) => answer.text(),
          () => '',
        ),
      )
      .toBe('it works\n');
    await stack.docker('rm', '-f', 'held');
    for (let round = 0; round < 5; round++) {
      expect((await run('--rm', '-d', ...program)).code).toBe(0);
      await stack.docker('rm', '-f', 'held');
    }
  });
});

describe('events', () => {
  it('are worded as in Docker', async () => {
    const since = Math.floor(Date.now() / 1000) - 1;
    await run('--rm', '--name', 'ev', 'busybox', 'true');
    await expect
      .poll(async () => {
        const events = await stack.docker(
          'events',
          '--since',
          String(since),
          '--until',
          String(Math.floor(Date.now() / 1000)),
          '--filter',
          'container=ev',
          '--format',
          '{{.Action}}',
        );
        return events.stdout.trim().split('\n');
      })
      .toEqual(['create', 'attach', 'start', 'die', 'destroy']);
  });
});

describe('restarts of the engine', () => {
  it('a running container survives hostd and the endpoint, and is found again', async () => {
    await run(
      '-d',
      '--name',
      'survivor',
      '-p',
      '127.0.0.1:0:80',
      'busybox',
      'sh',
      '-c',
      'mkdir /www; echo alive > /www/index.html; httpd -p 80 -h /www; trap "exit 4" TERM; while :; do sleep 0.1; done',
    );
    const published = (await stack.docker('port', 'survivor', '80')).stdout.trim();
    // One that ran twice, one that was killed with its VM, and one that could not be restarted.
    await run('--name', 'twice', 'busybox', 'sh', '-c', 'exit 3');
    await stack.docker('start', '-a', 'twice');
    await run('-d', '--name', 'again', 'busybox', 'sh', '-c', '[ ! -e /ran ] && touch /ran && exit 5; exec sleep 1000');
    await stack.docker('wait', 'again');
    await stack.docker('start', 'again');
    await run('--name', 'spoiled', '--entrypoint', '/bin/only-once', 'busybox').catch(() => undefined);
    await run('--name', 'broken', 'busybox', 'rm', '/bin/rm');
    expect((await stack.docker('start', 'broken')).code).not.toBe(0);
    const told = async (): Promise<string> =>
      (
        await stack.docker(
          ...['inspect', '-f', '{{.Name}} {{.RestartCount}} {{json .State}}'],
          ...['survivor', 'twice', 'again', 'spoiled', 'broken'],
        )
      ).stdout;
    const before = await told();
    await stack.restartHostd();
    expect((await stack.docker('exec', 'survivor', 'echo', 'still here')).stdout).toBe('still here\n');
    const { pid } = JSON.parse(
      await import('node:fs').then((fs) => fs.readFileSync(`${stack.paths.runDir}/vch/test/endpoint.json`, 'utf8')),
    ) as { pid: number };
    process.kill(pid, 'SIGKILL');
    await expect
      .poll(async () => (await stack.docker('ps', '--format', '{{.Names}}')).stdout)
      .toBe('again\nsurvivor\n');
    expect(await told()).toBe(before);
    await stack.docker('rm', '-f', 'twice', 'again', 'spoiled', 'broken');
    await expect
      .poll(async () =>
        fetch(`http://${published}/`).then(
          (answer) => answer.text(),
          () => '',
        ),
      )
      .toBe('alive\n');
    await expect.poll(async () => (await stack.docker('exec', 'survivor', 'echo', 'again')).stdout).toBe('again\n');
    await stack.docker('stop', 'survivor');
    expect((await stack.docker('inspect', '-f', '{{.State.ExitCode}}', 'survivor')).stdout).toBe('4\n');
    await stack.docker('rm', 'survivor');
  });
});
