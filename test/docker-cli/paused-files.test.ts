/** Files of paused containers: the virtual machine is resumed to access them, but the processes are not. */

import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ManagedObjectReference, VimClient } from '../../src/vim25/index.js';
import { dockerOk } from '../support/docker-ok.js';
import { inventory } from '../support/inventory.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { run, type Stack } from '../support/stack.js';

let stack: Stack;
let scratch: string;
let client: VimClient;
let vm: ManagedObjectReference;
let since: number;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  scratch = mkdtempSync(join(tmpdir(), 'caisson-paused-'));
  expect((await stack.docker('pull', 'busybox')).code).toBe(0);
  client = await VimClient.connect(stack.login());
  // Counts, and writes data that is only in the guest's page cache.
  await ok(
    'run',
    '-d',
    '--name',
    'paused',
    'busybox',
    'sh',
    '-c',
    'i=0; while :; do i=$((i+1)); echo $i >> /count; usleep 20000; done',
  );
  const name = `paused-${(await inspect('{{.Id}}')).slice(0, 12)}`;
  vm = (await inventory(client, 'VirtualMachine')).get(name)!;
  since = Math.floor(Date.now() / 1000);
  await ok('pause', 'paused');
});

afterAll(async () => {
  await client?.close();
  await stack?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

const ok = (...args: string[]): Promise<string> => dockerOk(stack, ...args);

const inspect = async (format: string): Promise<string> => (await ok('inspect', '-f', format, 'paused')).trim();
const status = (): Promise<string> => inspect('{{.State.Status}}');

async function powerState(): Promise<string> {
  const [object] = await client.retrieve([vm], 'VirtualMachine', ['runtime.powerState']);
  return String(object?.props['runtime.powerState']);
}

/** The container's current count. */
async function count(): Promise<string> {
  const into = join(scratch, 'count');
  await ok('cp', 'paused:/count', into);
  return readFileSync(into, 'utf8');
}

/** Starts a copy that does not finish: the virtual machine is awake until `end`. */
async function heldAwake(): Promise<{ end(): Promise<void> }> {
  const sent = request({
    ...{ agent: false, host: '127.0.0.1', port: stack.port, method: 'PUT', path: '/containers/paused/archive?path=/' },
    headers: { 'content-type': 'application/x-tar' },
  });
  const over = once(sent, 'response').then(
    ([answer]) => once(answer.resume(), 'close'),
    // The endpoint has died.
    () => undefined,
  );
  sent.write(Buffer.alloc(512));
  await expect.poll(powerState, { interval: 100 }).toBe('poweredOn');
  return {
    async end() {
      sent.end(Buffer.alloc(512));
      await over;
    },
  };
}

async function killEndpoint(): Promise<void> {
  const { pid } = JSON.parse(readFileSync(`${stack.paths.runDir}/vch/test/endpoint.json`, 'utf8')) as { pid: number };
  process.kill(pid, 'SIGKILL');
  await expect.poll(async () => (await stack.docker('ps', '-q')).code, { interval: 200 }).toBe(0);
}

describe('a paused container', () => {
  it('can be copied from and to, and stays paused throughout', async () => {
    const before = await count();
    expect(before).toMatch(/^1\n/);
    const held = await heldAwake();
    expect(await status()).toBe('paused');
    await held.end();
    expect(await ok('ps', '--filter', 'status=paused', '--format', '{{.Status}}')).toMatch(/^Up .* \(Paused\)\n$/);
    writeFileSync(join(scratch, 'in'), 'put while paused\n');
    await ok('cp', join(scratch, 'in'), 'paused:/in');
    expect(await count()).toBe(before);
    await expect.poll(powerState, { interval: 100 }).toBe('suspended');
    expect(await count()).toBe(before);
  });

  it('shows its changes, and is exported and committed with data that was not on the disk yet', async () => {
    const counted = await count();
    expect((await ok('diff', 'paused')).split('\n')).toEqual(expect.arrayContaining(['A /count', 'A /in']));
    const exported = await run('sh', ['-c', `docker export paused | tar -xO count`], {
      env: { DOCKER_HOST: stack.dockerHost },
    });
    expect(exported.stdout).toBe(counted);
    await ok('commit', 'paused', 'of/paused');
    expect(await status()).toBe('paused');
    expect(await ok('run', '--rm', 'of/paused', 'cat', '/count', '/in')).toBe(`${counted}put while paused\n`);
    await ok('rmi', 'of/paused');
    expect(await ok('ps', '-as', '--format', '{{.Size}}')).toMatch(/^[1-9]\d*B \(virtual/);
    // None of this causes an event.
    const events = await ok(
      ...['events', '--since', String(since), '--until', String(Math.ceil(Date.now() / 1000))],
      ...['--filter', 'container=paused', '--filter', 'event=pause', '--filter', 'event=unpause'],
      ...['--format', '{{.Action}}'],
    );
    expect(events).toBe('pause\n');
  });

  it('is still paused after the endpoint died, and its files and processes are visible', async () => {
    await expect.poll(powerState, { interval: 100 }).toBe('suspended');
    await killEndpoint();
    const before = await count();
    expect(await ok('top', 'paused')).toContain('sh -c i=0;');
    // It dies again with the virtual machine awake.
    const held = await heldAwake();
    await killEndpoint();
    await held.end();
    expect(await status()).toBe('paused');
    await expect.poll(powerState, { interval: 100 }).toBe('suspended');
    expect(await count()).toBe(before);
  });

  it('continues when it is unpaused, even during an access to its files', async () => {
    const before = await count();
    await ok('unpause', 'paused');
    await expect.poll(count).not.toBe(before);
    expect(await ok('exec', 'paused', 'cat', '/in')).toBe('put while paused\n');
    // Past the time for which its VM would have been awake.
    await sleep(1200);
    expect(await powerState()).toBe('poweredOn');
    expect(await status()).toBe('running');
  });

  it('continues with its processes when its VM is resumed from the vSphere side', async () => {
    await ok('pause', 'paused');
    const before = await count();
    await expect.poll(powerState, { interval: 100 }).toBe('suspended');
    await client.runTask('PowerOnVM_Task', vm, {});
    await expect.poll(status, { interval: 50 }).toBe('running');
    await expect.poll(count).not.toBe(before);
  });

  it('is not resumed for its files when only its VM was suspended: its processes would run', async () => {
    await client.runTask('SuspendVM_Task', vm, {});
    await expect.poll(status, { interval: 50 }).toBe('paused');
    expect((await stack.docker('cp', 'paused:/count', '-')).stderr).toContain('was paused by suspending');
    expect(await powerState()).toBe('suspended');
    await ok('unpause', 'paused');
  });

  it('can be paused while its files are read, and killed while its VM is awake', async () => {
    const reading = fetch(`http://127.0.0.1:${stack.port}/containers/paused/export`);
    await (await reading).body!.cancel();
    await ok('pause', 'paused');
    await count();
    await ok('stop', '-t', '1', 'paused');
    expect(await inspect('{{.State.Status}} {{.State.Paused}} {{.State.ExitCode}}')).toBe('exited false 137');
    await ok('start', 'paused');
    await ok('pause', 'paused');
    await count();
    await ok('rm', '-f', 'paused');
  });
});
