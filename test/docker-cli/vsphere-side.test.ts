/** The engine observed and changed from the vSphere side, by a third-party client. */
import { spawn } from 'node:child_process';
import { totalmem } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VimClient } from '../../src/vim25/index.js';
import { govmomi } from '../support/govmomi.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { flaws, shapes } from '../support/shapes.js';
import type { Stack } from '../support/stack.js';

let stack: Stack;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
});

afterAll(() => stack?.stop());

const run = (...args: string[]) => stack.docker('run', ...args);
const address = async (name: string): Promise<string> =>
  (await stack.docker('inspect', '-f', '{{.NetworkSettings.IPAddress}}', name)).stdout.trim();

describe('a vSphere client', () => {
  it('sees container VMs, and a VM that it powers off has exited for Docker within a second', async () => {
    expect((await run('-d', '--name', 'seen', 'busybox', 'sleep', '1000')).code).toBe(0);
    await stack.docker('create', '--name', 'idle', 'busybox', 'true');
    const vms = await govmomi(stack.login());
    const vm = vms.find(({ name }) => name.startsWith('seen-'));
    expect(vm).toMatchObject({ powerState: 'poweredOn', ipAddress: await address('seen') });
    expect(vm?.guestinfo['guestinfo.caisson.run.status']).toMatch(/^started \d+ \d+$/);
    expect(vms.find(({ name }) => name.startsWith('idle-'))?.powerState).toBe('poweredOff');
    // Every property of every object of running VMs, and each address with its prefix, for which `govc vm.ip -a` waits.
    expect(flaws(await shapes(stack.login()))).toEqual([]);
    const client = await VimClient.connect(stack.login());
    const [object] = await client.retrieve([{ type: 'VirtualMachine', value: vm!.reference }], 'VirtualMachine', [
      'guest.net',
    ]);
    await client.close();
    expect(object?.props['guest.net']).toMatchObject([
      { ipConfig: { ipAddress: [{ ipAddress: await address('seen'), prefixLength: 16 }] } },
    ]);
    const events = spawn(
      'docker',
      ['events', '--filter', 'container=seen', '--format', '{{.Action}} {{.Actor.Attributes.exitCode}}'],
      {
        env: { ...process.env, DOCKER_HOST: stack.dockerHost },
      },
    );
    let seen = '';
    events.stdout.on('data', (data: Buffer) => {
      seen += data.toString();
    });
    try {
      const waiting = stack.docker('wait', 'seen');
      const off = await govmomi(stack.login(), { powerOff: vm!.name });
      expect(off.find(({ name }) => name === vm!.name)?.powerState).toBe('poweredOff');
      await expect.poll(() => seen).toContain('die 137');
      expect((await waiting).stdout).toBe('137\n');
    } finally {
      events.kill();
    }
    expect((await stack.docker('ps', '-a', '--filter', 'name=seen', '--format', '{{.Status}}')).stdout).toMatch(
      /^Exited \(137\)/,
    );
    expect((await stack.docker('start', 'seen')).code).toBe(0);
    expect((await stack.docker('exec', 'seen', 'echo', 'again')).stdout).toBe('again\n');
    await stack.docker('rm', '-f', 'seen', 'idle');
    expect((await govmomi(stack.login())).filter(({ name }) => /^(seen|idle)-/.test(name))).toEqual([]);
  });
});

describe('admission', () => {
  it('refuses a container that is larger than the machine before it is powered on', async () => {
    const gibibytes = Math.ceil(totalmem() / 2 ** 30) + 8;
    const outcome = await run('--name', 'huge', '-m', `${gibibytes}g`, 'busybox', 'true');
    expect(outcome.stderr).toMatch(/wants \d+ MiB of memory and this machine has \d+ MiB/);
    expect(outcome.code).toBe(125);
    expect((await stack.docker('inspect', '-f', '{{.State.Status}}', 'huge')).stdout).toBe('created\n');
    expect((await stack.docker('rm', 'huge')).code).toBe(0);
  });
});
