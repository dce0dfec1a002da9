/** Observing and limiting containers on real virtual machines: top, stats, pause, update and running out of memory. */
import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VimClient } from '../../src/vim25/index.js';
import { dockerOk } from '../support/docker-ok.js';
import { inventory } from '../support/inventory.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import type { Stack } from '../support/stack.js';

let stack: Stack;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  expect((await stack.docker('pull', 'busybox')).code).toBe(0);
});

afterAll(() => stack?.stop());

const ok = (...args: string[]): Promise<string> => dockerOk(stack, ...args);

/** Runs a container, replacing one that an earlier attempt left behind. */
async function start(name: string, options: string[], ...command: string[]): Promise<string> {
  await stack.docker('rm', '-f', name);
  return ok('run', '-d', '--name', name, ...options, 'busybox', ...command);
}

const inspect = async (name: string, format: string): Promise<string> =>
  (await ok('inspect', '-f', format, name)).trim();

/** One record of `GET …/stats`. */
function stats(name: string, query: string): Promise<{ json: Record<string, Record<string, number>> }> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port: stack.port, path: `/containers/${name}/stats?${query}` }, (response) => {
      let text = '';
      response.on('data', (part: Buffer) => {
        text += part.toString();
      });
      response.on('end', () => resolve({ json: JSON.parse(text) }));
    }).on('error', reject);
  });
}

describe('docker top and stats', () => {
  beforeAll(async () => {
    await start('busy', ['-m', '64m', '-u', 'www-data'], 'sh', '-c', 'sleep 900 & while :; do :; done');
  });
  afterAll(() => stack.docker('rm', '-f', 'busy'));

  it('shows the processes, including those of execs, without a ps in the image', async () => {
    await ok('exec', '-d', '-u', 'root', 'busy', 'sleep', '800');
    const rows = (await ok('top', 'busy')).trim().split('\n');
    expect(rows[0]).toMatch(/^UID +PID +PPID +C +STIME +TTY +TIME +CMD$/);
    expect(
      rows
        .slice(1)
        .map((row) => row.split(/ {2,}/))
        .map((row) => `${row[0]}: ${row.at(-1)}`)
        .sort(),
    ).toEqual(['root: sleep 800', 'www-data: sh -c sleep 900 & while :; do :; done', 'www-data: sleep 900']);
    const pid = await inspect('busy', '{{.State.Pid}}');
    expect(rows[1]).toMatch(new RegExp(`^www-data +${pid} +1 `));
    const custom = (await ok('top', 'busy', '-o', 'pid,stat,user,comm', '--sort', 'pid')).trim().split('\n');
    expect(custom[0]).toMatch(/^PID +STAT +USER +COMMAND$/);
    expect(custom[1]).toMatch(new RegExp(`^${pid} +Rs +www-data +sh$`));
    expect((await stack.docker('top', 'busy', '-o', 'pid,bogus')).stderr).toBe(
      'Error response from daemon: ps: error: unknown user-defined format specifier "bogus"\n',
    );
  });

  it('measures what the container uses', async () => {
    const { json } = await stats('busy', 'stream=false');
    const cpu = json as unknown as {
      cpu_stats: { cpu_usage: { total_usage: number }; system_cpu_usage: number; online_cpus: number };
      precpu_stats: { cpu_usage: { total_usage: number }; system_cpu_usage: number };
    };
    const used = cpu.cpu_stats.cpu_usage.total_usage - cpu.precpu_stats.cpu_usage.total_usage;
    const system = cpu.cpu_stats.system_cpu_usage - cpu.precpu_stats.system_cpu_usage;
    // A busy loop uses one processor, less what a busy host takes away from it.
    const share = (used / system) * cpu.cpu_stats.online_cpus;
    expect(share).toBeGreaterThan(0.2);
    expect(share).toBeLessThan(1.1);
    expect(json.memory_stats).toMatchObject({ limit: 64 * 2 ** 20 });
    expect(json.memory_stats!.usage).toBeGreaterThan(100_000);
    expect(json.memory_stats!.usage).toBeLessThan(20_000_000);
    expect(json.pids_stats!.current).toBeGreaterThanOrEqual(2);
    expect(Object.keys(json.networks!)).toEqual(['eth0']);
    const oneShot = await stats('busy', 'stream=false&one-shot=true');
    expect(oneShot.json.preread).toBe('0001-01-01T00:00:00Z');
  });

  it('the CLI shows usage, and nothing for a stopped container', async () => {
    await ok('create', '--name', 'idle', 'busybox', 'true');
    const format = '{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.PIDs}}';
    const rows = (await ok('stats', '--no-stream', '--format', format, 'busy', 'idle')).trim().split('\n');
    expect(rows[0]).toMatch(/^busy\|\d+\.\d+%\|[\d.]+[KM]iB \/ 64MiB\|\d+$/);
    expect(Number.parseFloat(rows[0]!.split('|')[1]!)).toBeGreaterThan(20);
    expect(rows[1]).toBe('idle|0.00%|0B / 0B|0');
    await ok('rm', 'idle');
  });

  it('the observer in the guest ends with its client', async () => {
    const watching = get({ host: '127.0.0.1', port: stack.port, path: '/containers/busy/stats' });
    const records = new Promise<number>((resolve) => {
      let count = 0;
      watching.on('response', (response) => response.on('data', () => ++count === 3 && resolve(count)));
    });
    expect(await records).toBe(3);
    watching.destroy();
    // Observers are not among the observed processes.
    expect((await ok('top', 'busy', '-o', 'pid,args')).trim().split('\n')).toHaveLength(4);
  });
});

describe('docker pause', () => {
  it('stops the container, whose clock is right when it continues', async () => {
    await start('paused', [], 'sh', '-c', 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.2; done');
    await sleep(500);
    await ok('pause', 'paused');
    expect(await inspect('paused', '{{.State.Status}} {{.State.Running}} {{.State.Paused}}')).toBe('paused true true');
    expect(await ok('ps', '--filter', 'status=paused', '--format', '{{.Status}}')).toMatch(/^Up .* \(Paused\)\n$/);
    const before = await ok('logs', 'paused');
    await sleep(2500);
    expect(await ok('logs', 'paused')).toBe(before);
    // The same as before the pause.
    expect(await ok('top', 'paused')).toContain('sh -c i=0;');
    expect((await stats('paused', 'stream=false')).json.memory_stats!.usage).toBeGreaterThan(0);
    expect((await stack.docker('exec', 'paused', 'true')).stderr).toBe(
      'Error response from daemon: Container paused is paused, unpause the container before exec\n',
    );
    await ok('unpause', 'paused');
    const asked = Date.now() / 1000;
    const date = Number(await ok('exec', 'paused', 'date', '+%s'));
    expect(date).toBeGreaterThan(asked - 2);
    expect(date).toBeLessThan(Date.now() / 1000 + 2);
    await expect.poll(async () => (await ok('logs', 'paused')).length).toBeGreaterThan(before.length);
  });

  it('is also the state of a VM suspended from the vSphere side, which can be resumed there', async () => {
    const client = await VimClient.connect(stack.login());
    try {
      const name = `paused-${(await inspect('paused', '{{.Id}}')).slice(0, 12)}`;
      const vm = (await inventory(client, 'VirtualMachine')).get(name)!;
      // Events are requested by whole seconds: earlier ones belong to another second.
      await sleep(1000);
      const since = Math.floor(Date.now() / 1000);
      await client.runTask('SuspendVM_Task', vm, {});
      await expect.poll(() => inspect('paused', '{{.State.Status}}'), { interval: 50 }).toBe('paused');
      expect((await stack.docker('top', 'paused')).stderr).toContain(
        'was paused by suspending its virtual machine alone',
      );
      await client.runTask('PowerOnVM_Task', vm, {});
      await expect.poll(() => inspect('paused', '{{.State.Status}}'), { interval: 50 }).toBe('running');
      const events = await ok(
        ...['events', '--since', String(since), '--until', String(Math.ceil(Date.now() / 1000))],
        ...['--filter', 'container=paused', '--filter', 'event=pause', '--filter', 'event=unpause'],
        ...['--format', '{{.Action}}'],
      );
      expect(events).toBe('pause\nunpause\n');
    } finally {
      await client.close();
    }
  });

  it('outlives the embedded host', async () => {
    await ok('pause', 'paused');
    await stack.restartHostd();
    await expect.poll(() => inspect('paused', '{{.State.Status}}'), { interval: 200 }).toBe('paused');
    await expect.poll(async () => (await stack.docker('unpause', 'paused')).code).toBe(0);
    expect((await ok('exec', 'paused', 'echo', 'again')).trim()).toBe('again');
  });

  it('outlives the endpoint, and is resumed to be stopped', async () => {
    await ok('pause', 'paused');
    const { pid } = JSON.parse(readFileSync(`${stack.paths.runDir}/vch/test/endpoint.json`, 'utf8')) as { pid: number };
    process.kill(pid, 'SIGKILL');
    await expect
      .poll(async () => (await stack.docker('inspect', '-f', '{{.State.Status}}', 'paused')).stdout)
      .toBe('paused\n');
    await ok('unpause', 'paused');
    // Only now does the guest learn, at once, that the endpoint went away and came back.
    expect((await ok('exec', 'paused', 'echo', 'again')).trim()).toBe('again');
    await ok('pause', 'paused');
    await ok('stop', '-t', '1', 'paused');
    expect(await inspect('paused', '{{.State.Status}} {{.State.Paused}} {{.State.ExitCode}}')).toBe('exited false 137');
    await ok('rm', 'paused');
  });
});

describe('docker update', () => {
  const limits = 'cd /sys/fs/cgroup; cat memory.max pids.max cpu.max; nproc';

  it('changes limits while the container runs, and the virtual machine at the next start', async () => {
    await start('changed', ['-m', '64m', '--cpus', '0.5'], 'sleep', '900');
    expect(await ok('exec', 'changed', 'sh', '-c', limits)).toBe('67108864\nmax\n50000 100000\n1\n');
    const updated = await stack.docker(
      ...['update', '-m', '100m', '--memory-swap', '200m', '--pids-limit', '50', '--cpus', '2', 'changed'],
    );
    expect(updated.code).toBe(0);
    expect(updated.stdout + updated.stderr).toContain('has 128 MiB of memory until the container is started again');
    expect(await ok('exec', 'changed', 'sh', '-c', limits)).toBe('104857600\n50\n200000 100000\n1\n');
    expect(await inspect('changed', '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}')).toBe('104857600 2000000000');
    await ok('restart', '-t', '0', 'changed');
    expect(await ok('exec', 'changed', 'sh', '-c', limits)).toBe('104857600\n50\n200000 100000\n2\n');
    expect(
      Number(await ok('exec', 'changed', 'sh', '-c', "awk '/MemTotal/ {print $2}' /proc/meminfo")),
    ).toBeGreaterThan(110_000);
    await ok('rm', '-f', 'changed');
  });
});

describe('running out of memory', () => {
  const take = 'dd if=/dev/zero of=/dev/null bs=200M count=1';

  it('ends the process with 137, and is reported', async () => {
    const since = Math.floor(Date.now() / 1000);
    const outcome = await stack.docker('run', '--name', 'full', '-m', '64m', 'busybox', ...take.split(' '));
    expect(outcome.code).toBe(137);
    expect(await inspect('full', '{{.State.OOMKilled}} {{.State.ExitCode}}')).toBe('true 137');
    const events = await ok(
      ...['events', '--since', String(since), '--until', String(Math.ceil(Date.now() / 1000))],
      ...['--filter', 'container=full', '--format', '{{.Action}}'],
    );
    expect(events.trim().split('\n').slice(-3)).toEqual(['start', 'oom', 'die']);
    // The flag belongs to the run, not to the container.
    await ok('rm', 'full');
  });

  it('in one process of many: the container continues, and it is reported', async () => {
    await start('part', ['-m', '64m'], 'sh', '-c', `${take}; echo $?; sleep 900`);
    await expect.poll(() => ok('logs', 'part'), { interval: 200 }).toContain('137\n');
    expect(await inspect('part', '{{.State.OOMKilled}} {{.State.Status}}')).toBe('true running');
    await ok('rm', '-f', 'part');
  });

  it('with --oom-kill-disable: a process that needs more waits until there is more, or it is stopped', async () => {
    const hog = `awk 'BEGIN { s = "x"; while (length(s) < 33554432) s = s s; print "got", length(s) }'; sleep 900`;
    await start('waits', ['-m', '16m', '--cpus', '0.5', '--oom-kill-disable'], 'sh', '-c', hog);
    const used = async (): Promise<number> => {
      const { json } = await stats('waits', 'stream=0&one-shot=1');
      return json.memory_stats!.usage! / json.memory_stats!.limit!;
    };
    await expect.poll(used, { interval: 300 }).toBeGreaterThan(0.98);
    expect(await ok('logs', 'waits')).toBe('');
    expect(await inspect('waits', '{{.State.OOMKilled}} {{.State.Status}}')).toBe('false running');
    expect(await ok('top', 'waits')).toContain('awk');
    await ok('update', '-m', '200m', '--memory-swap', '400m', '--cpus', '1', 'waits');
    await expect.poll(() => ok('logs', 'waits'), { interval: 300 }).toBe('got 33554432\n');
    expect(await inspect('waits', '{{.State.OOMKilled}} {{.HostConfig.OomKillDisable}}')).toBe('false true');
    await ok('rm', '-f', 'waits');
  });
});
