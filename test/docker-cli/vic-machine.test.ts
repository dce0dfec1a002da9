/** Virtual container hosts, created and removed by vic-machine on a running host. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type MirroredStack, startMirroredStack } from '../support/mirrored-stack.js';
import { freePort, type Outcome, run } from '../support/stack.js';

let stack: MirroredStack;
let directory: string;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  directory = mkdtempSync(join(tmpdir(), 'caisson-vic-'));
});

afterAll(async () => {
  await stack?.stop();
  rmSync(directory, { recursive: true, force: true });
});

const docker = (port: number, env: NodeJS.ProcessEnv, ...args: string[]): Promise<Outcome> =>
  run('docker', args, { env: { DOCKER_HOST: `tcp://127.0.0.1:${port}`, DOCKER_CONFIG: directory, ...env } });
const names = async (): Promise<string> => (await stack.vicMachine('ls')).stdout;

describe('vic-machine', () => {
  it('lists and inspects hosts', async () => {
    expect(await names()).toMatch(/^.*\btest\b.*$/m);
    const inspected = await stack.vicMachine('inspect', '--name', 'test');
    expect(inspected.stdout).toContain(`DOCKER_HOST=tcp://127.0.0.1:${stack.port}`);
    expect((await stack.vicMachine('inspect', '--name', 'none')).stderr).toMatch(/none/);
    expect((await stack.vicMachine('inspect', '--name', 'none')).code).not.toBe(0);
  });

  it('creates a second host from a file of options; the two do not know each other', async () => {
    const port = await freePort();
    const file = join(directory, 'vch.yaml');
    writeFileSync(
      file,
      [
        'name: second',
        'image-store: datastore1',
        'bridge-network: second-bridge',
        'no-tls: true',
        `docker-address: 127.0.0.1:${port}`,
        `channel-dir: ${join(stack.paths.runDir, 'vch', 'second')}`,
        `registry-mirror: [http://${stack.registry.address}]`,
        'container-memory: 512',
      ].join('\n'),
    );
    const created = await stack.vicMachine('create', '--config', file);
    expect(created.stderr).not.toMatch(/error/i);
    expect(created.code).toBe(0);
    const memory = await docker(
      port,
      {},
      'run',
      '--name',
      'only-here',
      'busybox',
      'sh',
      '-c',
      'grep MemTotal /proc/meminfo',
    );
    expect(Number(/(\d+) kB/.exec(memory.stdout)?.[1])).toBeLessThan(520_000);
    expect((await stack.docker('ps', '-a', '--format', '{{.Names}}')).stdout).not.toContain('only-here');
    expect(await names()).toMatch(/second/);
    expect((await stack.vicMachine('create', '--config', file)).stderr).toMatch(/exists|already/);
    expect((await docker(port, {}, 'volume', 'create', 'goes')).code).toBe(0);
    const kept = await stack.vicMachine('delete', '--name', 'second');
    if (kept.code !== 0) expect((await stack.vicMachine('delete', '--name', 'second', '--force')).code).toBe(0);
    expect(await names()).not.toMatch(/second/);
    expect(readdirSync(join(stack.paths.datastoreDir, 'VIC'))).toHaveLength(1);
    expect((await docker(port, {}, 'ps')).code).not.toBe(0);
  });

  it('changes which registries may be used, while containers run', async () => {
    const { address } = stack.registry;
    expect((await stack.docker('run', '-d', '--name', 'stays', 'busybox', 'sleep', '600')).code).toBe(0);
    const configure = (...options: string[]): Promise<Outcome> =>
      stack.vicMachine('configure', '--name', 'test', ...options);
    const closed = await configure('--whitelist-registry', 'reg.lan', '--whitelist-registry', '*.example.com');
    expect(closed.code, closed.stderr).toBe(0);
    const refused = await stack.docker('pull', `${address}/library/busybox`);
    expect(refused.stderr).toContain(
      `Access denied to unauthorized registry (${address}) while VCH is in whitelist mode: --allow-registry does not name it`,
    );
    expect((await stack.docker('info')).stdout).toContain('Whitelisted Registries: reg.lan, *.example.com');
    expect((await stack.docker('ps', '-q', '-f', 'name=stays')).stdout).not.toBe('');
    // The mirror still serves.
    expect((await stack.docker('pull', 'busybox')).code).toBe(0);
    expect((await configure('--allow-registry', 'none')).code).toBe(0);
    expect((await stack.docker('pull', `${address}/library/busybox`)).code).toBe(0);
    expect((await configure()).stdout).toBe('Nothing to change\n');
    await stack.docker('rm', '-f', 'stays');
  });

  it('refuses a file with an unknown option', async () => {
    const file = join(directory, 'wrong.yaml');
    writeFileSync(file, 'name: third\nimage-stores: x\n');
    const outcome = await stack.vicMachine('create', '--config', file);
    expect(outcome.stderr).toMatch(/image-stores/);
    expect(outcome.code).not.toBe(0);
  });
});

describe('TLS', () => {
  const create = (name: string, port: number, ...options: string[]): Promise<Outcome> =>
    stack.vicMachine(
      'create',
      '--name',
      name,
      '--image-store',
      'datastore1',
      '--bridge-network',
      `${name}-bridge`,
      '--docker-address',
      `127.0.0.1:${port}`,
      '--channel-dir',
      join(stack.paths.runDir, 'vch', name),
      '--tls-cert-path',
      join(directory, name),
      ...options,
    );

  it('--tls-cname: clients present a certificate, and get the right one', async () => {
    const port = await freePort();
    const created = await create('safe', port, '--tls-cname', '127.0.0.1');
    expect(created.code, created.stderr).toBe(0);
    const certificates = join(directory, 'safe');
    expect(readFileSync(join(certificates, 'key.pem'), 'utf8')).toContain('PRIVATE KEY');
    const env = { DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: certificates };
    expect((await docker(port, env, 'version', '-f', '{{.Server.Os}}')).stdout).toBe('linux\n');
    expect((await docker(port, {}, 'version')).code).not.toBe(0);
    expect((await docker(port, { DOCKER_TLS: '1' }, 'version')).code).not.toBe(0);
    expect((await stack.vicMachine('delete', '--name', 'safe', '--force')).code).toBe(0);
  });

  it('--no-tlsverify: encrypted, for any client', async () => {
    const port = await freePort();
    const created = await create('open', port, '--no-tlsverify');
    expect(created.code, created.stderr).toBe(0);
    expect(created.stdout).toContain(`--tls --tlscacert=${join(directory, 'open', 'ca.pem')}`);
    // The CLI's --tls needs a CA certificate to exist, though it does not use it.
    const authority = join(directory, 'open', 'ca.pem');
    const seen = await docker(port, {}, '--tls', '--tlscacert', authority, 'version', '-f', '{{.Server.Os}}');
    expect(seen, seen.stderr).toMatchObject({ stdout: 'linux\n', code: 0 });
    expect((await docker(port, {}, 'version')).code).not.toBe(0);
    expect((await stack.vicMachine('delete', '--name', 'open', '--force')).code).toBe(0);
    expect(existsSync(join(stack.paths.runDir, 'vch', 'open', 'docker.sock'))).toBe(false);
  });
});
