/** API options that name things on the endpoint's machine: what they reach, and that the endpoint keeps answering. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type MirroredStack, startMirroredStack } from '../support/mirrored-stack.js';

let stack: MirroredStack;
/** Readable by root only. */
let directory: string;
let server: Server;
let connections = 0;

const there = (name: string): string => join(directory, name);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-roots-'));
  execFileSync('mkfifo', [there('pipe')]);
  writeFileSync(there('secret'), 'not for anybody');
  server = createServer(() => {
    connections++;
  }).listen(there('socket'));
  stack = await startMirroredStack(['busybox'], {
    createOptions: ['--publish-address', '127.0.0.1', '--publish-lowest-port', '1024'],
  });
  await stack.docker('pull', 'busybox');
});
afterAll(async () => {
  await stack?.stop();
  server.close();
  rmSync(directory, { recursive: true });
});

const syslog = (...options: string[]): string[] => [
  ...['--log-driver', 'syslog'],
  ...options.flatMap((option) => ['--log-opt', option]),
];
/** The result of a start, without the given path. */
async function refused(path: string, ...options: string[]): Promise<string> {
  const outcome = await stack.docker('run', '--rm', ...options, 'busybox', 'echo', 'ran');
  expect(outcome.stdout).toBe('');
  expect(outcome.code, outcome.stderr).toBeGreaterThan(0);
  expect((await stack.docker('version', '-f', '{{.Server.Os}}')).stdout).toBe('linux\n');
  return outcome.stderr.split(path).join('PATH').split('\n')[0] ?? '';
}

describe('the log driver syslog', () => {
  it('connects to no socket that was not granted, and does not reveal which ones exist', async () => {
    const told = new Set<string>();
    for (const path of [there('socket'), there('none'), there('secret'), '/root/none', '/etc/shadow'])
      told.add(await refused(path, ...syslog(`syslog-address=unix://${path}`)));
    expect([...told]).toEqual([expect.stringContaining('stat PATH: no such file or directory')]);
    expect(connections).toBe(0);
  });

  it('opens no file: no pipe, no endless device, none of root’s', async () => {
    for (const option of ['syslog-tls-ca-cert', 'syslog-tls-cert', 'syslog-tls-key']) {
      const told = new Set<string>();
      for (const path of [there('pipe'), '/dev/zero', '/etc/shadow', there('none'), there('secret')])
        told.add(await refused(path, ...syslog('syslog-address=tcp+tls://127.0.0.1:9', `${option}=${path}`)));
      expect([...told]).toHaveLength(1);
      expect([...told][0]).toContain('no such file or directory');
    }
  });
});

describe('published ports', () => {
  it('are open only where the owner of the machine allows it', async () => {
    const options = (port: string): string[] => ['-p', port];
    expect(await refused('\0', ...options('443:80'))).toContain('only ports from 1024 on may be');
    expect(await refused('\0', ...options('0.0.0.0:8443:80'))).toContain('only addresses 127.0.0.1 may be used');
    const started = await stack.docker('run', '-d', '--name', 'kept', '-p', '80', 'busybox', 'sleep', '100');
    expect(started.stderr).toBe('');
    expect((await stack.docker('port', 'kept')).stdout).toMatch(/^80\/tcp -> 127\.0\.0\.1:\d+\n$/);
    await stack.docker('rm', '-f', 'kept');
  });
});

describe('other options that name things of a host', () => {
  it.each([
    [['-v', '/etc:/host']],
    [['--mount', 'type=bind,source=/etc,target=/host']],
    [['--device', '/dev/mem']],
    [['--gpus', 'all']],
    [['--pid', 'host']],
    [['--network', 'host']],
    [['--ipc', 'host']],
    [['--uts', 'host']],
    [['--userns', 'host']],
    [['--cgroup-parent', '/system.slice']],
    [['--security-opt', 'apparmor=unconfined']],
    [['--runtime', '/bin/sh']],
    [['--volume-driver', '/bin/sh', '-v', 'x:/x']],
    [['--log-driver', 'gelf', '--log-opt', 'gelf-address=udp://127.0.0.1:1']],
    [['--log-driver', 'journald']],
  ])('%j reaches nothing', async (options) => {
    const outcome = await stack.dockerWith(
      { timeoutMs: 60_000 },
      ...['run', '--rm', ...options, 'busybox', 'sh', '-c', 'cat /host/hostname /host/shadow 2>/dev/null; true'],
    );
    expect(outcome.stdout).toBe('');
  });

  it('volumes cannot be directories of the machine', async () => {
    for (const options of [
      ['--opt', 'type=none', '--opt', 'o=bind', '--opt', 'device=/etc'],
      ['--opt', 'type=ext4', '--opt', 'device=/dev/vda'],
    ]) {
      const made = await stack.docker('volume', 'create', ...options, 'bound');
      expect(made.code, made.stdout).not.toBe(0);
    }
  });
});
