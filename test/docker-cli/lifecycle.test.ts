/** Restart policies, health, waiting, pruning and events of real containers, also over restarts of the engine. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startMirroredStack } from '../support/mirrored-stack.js';
import type { Stack } from '../support/stack.js';

let stack: Stack;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  expect((await stack.docker('pull', '-q', 'busybox')).code).toBe(0);
});

afterAll(() => stack?.stop());

/** Polls: machines are slow on a busy host. */
const eventually = <T>(read: () => Promise<T>) => expect.poll(read);
const docker = (...args: string[]) => stack.docker(...args);
/** Runs a container in the background. */
const start = async (name: string, options: string[], script: string): Promise<void> => {
  const outcome = await docker('run', '-d', '--name', name, ...options, 'busybox', 'sh', '-c', script);
  expect(outcome).toMatchObject({ code: 0 });
};
const inspect = async (name: string, format: string): Promise<string> =>
  (await docker('inspect', '-f', format, name)).stdout.trim();
const status = async (name: string): Promise<string> =>
  (await docker('ps', '-a', '--filter', `name=^${name}$`, '--format', '{{.Status}}')).stdout.trim();
/** Actions of a container so far, those of execs only with `execs`. */
const actions = async (name: string, execs = false): Promise<string[]> => {
  const now = (Date.now() / 1000 + 0.01).toFixed(3);
  const args = ['events', '--since', '0', '--until', now, '--filter', `container=${name}`, '--format', '{{.Action}}'];
  const all = (await docker(...args)).stdout.trim().split('\n');
  return all.filter((action) => execs || !action.startsWith('exec_'));
};

describe('a container that has just been started', () => {
  it('is signalled, entered and read once its first process is under way', async () => {
    await start('young', [], "trap 'exit 7' TERM; echo made > /made; while :; do sleep 0.05; done");
    await docker('kill', '-s', 'TERM', 'young');
    expect((await docker('wait', 'young')).stdout.trim()).toBe('7');
    await docker('start', 'young');
    expect((await docker('stop', 'young')).code).toBe(0);
    expect(await inspect('young', '{{.State.ExitCode}}')).toBe('7');
    await start('young2', [], 'echo made > /made; sleep 1000');
    expect((await docker('exec', 'young2', 'cat', '/made')).stdout).toBe('made\n');
    // A process that never blocks is not waited for long.
    await start('busy', [], "trap 'exit 8' TERM; while :; do :; done");
    expect((await docker('kill', '-s', 'TERM', 'busy')).code).toBe(0);
    expect((await docker('wait', 'busy')).stdout.trim()).toBe('8');
    await docker('rm', '-f', 'young', 'young2', 'busy');
  });
});

describe('a restart policy', () => {
  it('restarts a failed container as often as it says', async () => {
    await start('failing', ['--restart', 'on-failure:2'], 'exit 3');
    await eventually(() => status('failing')).toMatch(/^Exited \(3\)/);
    expect(await inspect('failing', '{{.RestartCount}} {{.State.Restarting}}')).toBe('2 false');
    expect(await actions('failing')).toEqual(['create', 'start', 'die', 'start', 'die', 'start', 'die']);
  });

  it('is visible between two runs, and ends with a stop', async () => {
    await start('looping', ['--restart', 'always'], 'exit 4');
    await eventually(() => inspect('looping', '{{.RestartCount}}')).toMatch(/^[4-9]$/);
    await eventually(() => status('looping')).toMatch(/^Restarting \(4\) .* ago$/);
    // It is running for a moment now and then.
    await eventually(async () => (await docker('exec', 'looping', 'true')).stderr).toMatch(
      /is restarting, wait until the container is running/,
    );
    expect((await docker('stop', 'looping')).code).toBe(0);
    expect(await status('looping')).toMatch(/^Exited \(4\)/);
    expect((await docker('rm', 'looping')).code).toBe(0);
  });

  it('does not bring back a killed container; docker restart keeps even one with --rm', async () => {
    await start('killed', ['--restart', 'always'], 'sleep 1000');
    await docker('kill', 'killed');
    await start('kept', ['--rm'], 'trap "exit 0" TERM; echo ready; while :; do sleep 0.1; done');
    await eventually(async () => (await docker('logs', 'kept')).stdout).toContain('ready');
    expect((await docker('restart', 'kept')).code).toBe(0);
    expect(await status('kept')).toMatch(/^Up/);
    expect(await actions('kept')).toEqual(['create', 'start', 'kill', 'die', 'stop', 'start', 'restart']);
    await docker('stop', '-t', '0', 'kept');
    await eventually(() => status('kept')).toBe('');
    expect(await status('killed')).toMatch(/^Exited \(137\)/);
  });
});

describe('a health check', () => {
  it('of an image is run in the container, and shows whether it is healthy', async () => {
    await docker('create', '--name', 'base', 'busybox', 'true');
    const check = 'HEALTHCHECK --interval=300ms --retries=2 CMD echo looked && test ! -e /sick';
    expect((await docker('commit', '--change', check, 'base', 'checked')).code).toBe(0);
    expect((await docker('run', '-d', '--name', 'patient', 'checked', 'sleep', '1000')).code).toBe(0);
    expect(await status('patient')).toMatch(/^Up .* \((health: starting|healthy)\)$/);
    await eventually(() => status('patient')).toMatch(/\(healthy\)$/);
    expect(await inspect('patient', '{{(index .State.Health.Log 0).Output}}')).toBe('looked');
    await docker('exec', 'patient', 'touch', '/sick');
    await eventually(() => status('patient')).toMatch(/\(unhealthy\)$/);
    const list = await docker('ps', '--filter', 'health=unhealthy', '--format', '{{.Names}}');
    expect(list.stdout).toBe('patient\n');
    expect(await actions('patient')).toEqual(['create', 'start', 'health_status: healthy', 'health_status: unhealthy']);
    const [create, begin, die] = (await actions('patient', true)).slice(2);
    expect([create, begin]).toEqual(
      ['exec_create', 'exec_start'].map((action) => `${action}: /bin/sh -c echo looked && test ! -e /sick`),
    );
    expect(die).toBe('exec_die');
    await docker('rm', '-f', 'patient');
  });

  it('that takes too long is killed in the container', async () => {
    await start(
      'slow',
      ['--health-cmd', 'sleep 77', '--health-interval', '100ms', '--health-timeout', '300ms'],
      'sleep 99',
    );
    await eventually(() => inspect('slow', '{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}')).toMatch(
      /^-1 Health check exceeded timeout \(300ms\)/,
    );
    expect((await docker('exec', 'slow', 'sh', '-c', 'ps | grep -c "[s]leep 77"')).stdout).toMatch(/^[01]\n/);
    await docker('rm', '-f', 'slow');
  });
});

describe('waiting', () => {
  const wait = async (name: string, condition: string): Promise<string> =>
    (
      await fetch(`http://127.0.0.1:${stack.port}/containers/${name}/wait?condition=${condition}`, { method: 'POST' })
    ).text();

  it('for the end, the next end, and the removal', async () => {
    await start('ends', [], 'sleep 0.5; exit 6');
    expect((await docker('wait', 'ends')).stdout).toBe('6\n');
    expect(await wait('ends', 'not-running')).toBe('{"StatusCode":6}\n');
    // The head comes at once, the answer with the next exit.
    const next = await fetch(`http://127.0.0.1:${stack.port}/containers/ends/wait?condition=next-exit`, {
      method: 'POST',
    });
    expect(next.status).toBe(200);
    const removed = wait('ends', 'removed');
    await docker('start', 'ends');
    expect(await next.text()).toBe('{"StatusCode":6}\n');
    await docker('rm', 'ends');
    expect(await removed).toBe('{"StatusCode":6}\n');
    expect(await wait('ends', 'removed')).toBe('{"message":"No such container: ends"}\n');
    expect(await wait('failing', 'sometime')).toBe('{"message":"invalid condition: \\"sometime\\""}\n');
  });
});

describe('signals', () => {
  it('reach the process by name and number', async () => {
    const traps = ['HUP', 'USR1', 'USR2', 'WINCH'].map((name) => `trap 'echo ${name}' ${name}; `).join('');
    await start('trapping', [], `${traps} echo ready; while :; do sleep 0.05; done`);
    await eventually(async () => (await docker('logs', 'trapping')).stdout).toContain('ready');
    for (const [signal, name] of [
      ['HUP', 'HUP'],
      ['SIGUSR1', 'USR1'],
      ['12', 'USR2'],
      ['sigwinch', 'WINCH'],
    ] as const) {
      expect((await docker('kill', '-s', signal, 'trapping')).code).toBe(0);
      await eventually(async () => (await docker('logs', 'trapping')).stdout).toContain(`${name}\n`);
    }
    await docker('rm', '-f', 'trapping');
  });
});

describe('disk usage and pruning', () => {
  it('report and free what containers have written', async () => {
    await docker(
      'run',
      '--name',
      'written',
      'busybox',
      'sh',
      '-c',
      'head -c 2000000 /dev/zero > /x; ln -s a /y; ln /x /z',
    );
    expect(await inspect('written', '{{.State.ExitCode}}')).toBe('0');
    const sized = await docker('inspect', '-s', '-f', '{{.SizeRw}}', 'written');
    expect(sized.stdout).toBe('2000001\n');
    const usage = (await docker('system', 'df')).stdout;
    expect(usage).toMatch(/^Containers +\d+ +0 +2MB +2MB \(100%\)$/m);
    expect((await docker('system', 'df', '-v')).stdout).toMatch(/^\w{12} +busybox .* 2MB .* written$/m);
    const pruned = await docker('system', 'prune', '-f');
    expect(pruned).toMatchObject({ code: 0, stderr: '' });
    expect(pruned.stdout).toMatch(/Total reclaimed space: 2MB\n$/);
    expect((await docker('ps', '-aq')).stdout).toBe('');
    expect((await docker('image', 'prune', '-af')).stdout).toContain('untagged: checked:latest');
    expect((await docker('pull', '-q', 'busybox')).code).toBe(0);
  });
});

describe('when everything is stopped and started again', () => {
  /** The process of a container's virtual machine. */
  const machineOf = async (name: string): Promise<number> => {
    const moid = await inspect(name, '{{.GraphDriver.Data.VM}}');
    const file = join(stack.paths.runDir, 'vm', `${moid}.pid`);
    return (JSON.parse(readFileSync(file, 'utf8')) as { pid: number }).pid;
  };

  it('containers keep running, and those that ended meanwhile are restarted as their policies say', async () => {
    const forever = 'sleep 1000';
    await start('goes-on', ['--health-cmd', 'true', '--health-interval', '200ms'], forever);
    // Debian 12's CLI does not know `--health-start-interval`.
    const probed = await new Docker({ host: '127.0.0.1', port: stack.port }).createContainer({
      name: 'once-probed',
      Image: 'busybox',
      Cmd: ['sh', '-c', forever],
      Healthcheck: { Test: ['CMD-SHELL', 'echo well'], Interval: 3600e9, StartPeriod: 300e9, StartInterval: 300e6 },
    });
    await probed.start();
    const health = (): Promise<string> => inspect('once-probed', '{{json .State.Health}}');
    await eventually(health).toContain('"Status":"healthy"');
    const found = await health();
    await start('comes-back', ['--restart', 'unless-stopped'], forever);
    await start('stopped', ['--restart', 'unless-stopped'], forever);
    await start('stopped-always', ['--restart', 'always'], forever);
    await start('plain', [], forever);
    await docker('stop', '-t', '0', 'stopped', 'stopped-always');
    const startedAt = async (): Promise<number> => Date.parse(await inspect('goes-on', '{{.State.StartedAt}}'));
    const restarted = Date.now();
    const machines = await Promise.all(['comes-back', 'plain'].map(machineOf));
    await stack.restart(() => {
      for (const pid of machines) process.kill(pid, 'SIGKILL');
    });
    await eventually(() => status('comes-back')).toMatch(/^Up/);
    await eventually(() => status('stopped-always')).toMatch(/^Up/);
    expect(await status('stopped')).toMatch(/^Exited \(137\)/);
    expect(await status('plain')).toMatch(/^Exited \(137\)/);
    // Reported by the guest.
    expect(await startedAt()).toBeLessThan(restarted);
    await eventually(() => status('goes-on')).toMatch(/\(healthy\)$/);
    expect(await health()).toBe(found);
    expect(await inspect('comes-back', '{{.HostConfig.RestartPolicy.Name}} {{.RestartCount}}')).toBe(
      'unless-stopped 0',
    );
  });
});
