/** Failures are reported with Docker's messages and statuses, and leave nothing behind. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { govmomi } from '../support/govmomi.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import type { Stack } from '../support/stack.js';

let stack: Stack;
/** The endpoint VM's own interfaces. */
let endpoint: string[] = [];

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  await stack.docker('pull', 'busybox');
  endpoint = taps();
});

afterAll(() => stack?.stop());

const post = (path: string, body: string): Promise<Response> =>
  fetch(`http://127.0.0.1:${stack.port}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });

/**
 * Process ids of this stack's VMs, except the one that a boot snapshot is made from.
 * @param spare include those waiting in the warm pool, which are not VMs yet
 */
function machines(spare = false): number[] {
  const directory = `${stack.paths.runDir}/vm`;
  // One from the pool is identified by its pid file: its command line is still the pool's.
  const given = (existsSync(directory) ? readdirSync(directory) : [])
    .filter((name) => name.endsWith('.pid'))
    .map((name) => {
      try {
        return (JSON.parse(readFileSync(`${directory}/${name}`, 'utf8')) as { pid: number }).pid;
      } catch {
        return -1;
      }
    });
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        if (!line.startsWith('qemu-')) return false;
        if (line.includes(`${stack.paths.runDir}/vm/`)) return true;
        return line.includes(`${stack.paths.runDir}/pool/`) && (spare || given.includes(Number(pid)));
      } catch {
        return false;
      }
    })
    .map(Number);
}

function taps(): string[] {
  const links = execFileSync('ip', ['-n', `csn-${stack.paths.instance}`, '-json', 'link'], { encoding: 'utf8' });
  return (JSON.parse(links) as { ifname: string }[])
    .map(({ ifname }) => ifname)
    .filter((name) => /^t\d+n/.test(name) && !endpoint.includes(name));
}

/** Directories of container VMs on the datastore. */
const directories = (): string[] => readdirSync(stack.paths.datastoreDir).filter((name) => /^[0-9a-f]{64}$/.test(name));

describe('missing names', () => {
  it.each([
    [['run', 'busybox:nosuch'], /manifest for busybox:nosuch not found|pull access denied|not found/, 125],
    [['run', 'nosuch/image'], /pull access denied for nosuch\/image|not found/, 125],
    [['start', 'nosuch'], /No such container: nosuch/, 1],
    [['rm', 'nosuch'], /No such container: nosuch/, 1],
    [['logs', 'nosuch'], /No such container: nosuch/, 1],
    [['exec', 'nosuch', 'true'], /No such container: nosuch/, 1],
    [['rmi', 'nosuch'], /No such image: nosuch/, 1],
    [['run', '--network', 'nosuch', 'busybox', 'true'], /network nosuch not found/, 125],
  ])('%j', async (args, message, code) => {
    const outcome = await stack.docker(...(args as string[]));
    expect(outcome.stderr).toMatch(message as RegExp);
    expect(outcome.code).toBe(code);
    // As in Docker, `run` with a missing network leaves the container created.
    for (const id of (await stack.docker('ps', '-aq')).stdout.split('\n').filter(Boolean))
      await stack.docker('rm', '-f', id);
    expect(directories()).toEqual([]);
  });
});

describe('malformed requests', () => {
  it.each([
    ['/containers/create', '{"Image":'],
    ['/containers/create', '[]'],
    ['/containers/create', '{"Image":7}'],
    ['/containers/create', '{}'],
  ])('%s %s', async (path, body) => {
    const answer = await post(path, body);
    expect(answer.status).toBe(400);
    expect((await answer.json()) as { message: string }).toHaveProperty('message', expect.any(String));
    expect(directories()).toEqual([]);
  });

  it('a name in use stays with its owner', async () => {
    await stack.docker('create', '--name', 'mine', 'busybox', 'true');
    const second = await stack.docker('create', '--name', 'mine', 'busybox', 'true');
    expect(second.stderr).toMatch(
      /Conflict. The container name "\/mine" is already in use by container "[0-9a-f]{64}"/,
    );
    expect(directories()).toHaveLength(1);
    expect((await stack.docker('rm', 'mine')).code).toBe(0);
  });
});

describe('a VM that dies', () => {
  it('while it starts: the start fails with a message, and the container can be started again', async () => {
    await stack.docker('create', '--name', 'dies', 'busybox', 'sh', '-c', 'echo lives; sleep 1000');
    let over = false;
    const starting = stack.docker('start', 'dies').finally(() => {
      over = true;
    });
    // This includes the VM that is booted when resuming from a snapshot fails.
    for (; !over; await sleep(2)) for (const pid of machines(true)) process.kill(pid, 'SIGKILL');
    const outcome = await starting;
    expect(outcome.stderr).toMatch(/could not be started|unexpectedly powered off/);
    expect(outcome.code).toBe(1);
    await expect.poll(async () => (await stack.docker('ps', '-q')).stdout).toBe('');
    expect(machines()).toEqual([]);
    expect(taps()).toEqual([]);
    expect((await stack.docker('start', 'dies')).code).toBe(0);
    await expect.poll(async () => (await stack.docker('logs', 'dies')).stdout).toContain('lives\n');
  });

  it('while it runs: the container has exited with 137', async () => {
    const [pid] = machines();
    process.kill(pid!, 'SIGKILL');
    expect((await stack.docker('wait', 'dies')).stdout).toBe('137\n');
    const running = await stack.docker('start', 'dies');
    expect(running.code).toBe(0);
    expect((await stack.docker('rm', 'dies')).stderr).toContain('container is running');
    expect((await stack.docker('rm', '-f', 'dies')).code).toBe(0);
  });

  it('rm -f aborts a start that is under way', async () => {
    await stack.docker('create', '--name', 'unwanted', 'busybox', 'sleep', '1000');
    const starting = stack.docker('start', 'unwanted');
    await expect.poll(() => machines(), { interval: 2 }).not.toEqual([]);
    expect((await stack.docker('rm', '-f', 'unwanted')).code).toBe(0);
    await starting;
    expect((await stack.docker('ps', '-aq')).stdout).toBe('');
  });
});

it('none of this leaves anything behind', async () => {
  expect((await stack.docker('ps', '-aq')).stdout).toBe('');
  await expect.poll(() => machines()).toEqual([]);
  await expect.poll(taps).toEqual([]);
  expect(directories()).toEqual([]);
  expect((await govmomi(stack.login())).map(({ name }) => name)).toEqual(['test']);
  const sockets = `${stack.paths.runDir}/vch/test`;
  expect(existsSync(sockets) ? readdirSync(sockets).filter((name) => /^[0-9a-f]{12}\.sock$/.test(name)) : []).toEqual(
    [],
  );
});
