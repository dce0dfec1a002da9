/** Third-party clients, old and new: a Python program, Docker Compose, and the docker CLI of the release. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addComposePlugin } from '../support/clients/compose-plugin.js';
import { oldDocker } from '../support/clients/old-docker.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { type Outcome, run, type Stack } from '../support/stack.js';

let stack: Stack;
let project: string;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox', 'web']);
  project = await mkdtemp(join(tmpdir(), 'caisson-compose-'));
  await addComposePlugin(stack.paths.stateDir);
  await writeFile(join(project, 'docker-compose.yml'), COMPOSE);
});

afterAll(async () => {
  await stack?.stop();
  if (project !== undefined) await rm(project, { recursive: true, force: true });
});

const COMPOSE = `
version: "2.4"
services:
  web:
    image: web
    network_mode: bridge
    labels: {tier: front}
    environment: {GREETING: hello}
    healthcheck: {test: ["CMD", "true"], interval: 1s}
    ports: ["127.0.0.1::80"]
  job:
    image: busybox
    network_mode: bridge
    depends_on: [web]
    volumes: ["kept:/kept", "/scratch"]
    command: ["sh", "-c", "touch /scratch/x; echo x >> /kept/f; echo job done $$(wc -l < /kept/f); exit 3"]
volumes:
  kept: {labels: {of: job}}
`;

const environment = (): NodeJS.ProcessEnv => ({ DOCKER_HOST: stack.dockerHost, DOCKER_CONFIG: stack.paths.stateDir });

async function ok(command: string, ...args: string[]): Promise<Outcome> {
  const outcome = await run(command, args, { env: environment(), timeoutMs: 300_000 });
  expect(outcome.code, `${command} ${args.join(' ')}: ${outcome.stderr}${outcome.stdout}`).toBe(0);
  return outcome;
}

/** What a Python program says of each of its steps. */
async function python(name: string): Promise<Record<string, unknown>> {
  const program = fileURLToPath(new URL(`../support/clients/${name}`, import.meta.url));
  const { stdout } = await ok('/usr/bin/python3', program, stack.dockerHost, 'busybox:latest');
  return Object.fromEntries(
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { step: string; value: unknown })
      .map(({ step, value }): [string, unknown] => [step, value]),
  );
}

it("a program with Docker's library for Python", async () => {
  const { events, ...values } = await python('round.py');
  expect(values).toEqual({
    ping: true,
    pull: ['busybox:latest'],
    run: 'hello\n',
    fails: [5, 'bad\n'],
    'not found': 'No such container: nosuch',
    followed: 'up\n',
    status: 'running',
    exec: [3, ['hi\n', 'err\n']],
    put: true,
    get: ['file', 'abc'],
    diff: expect.arrayContaining(['/tmp', '/tmp/file']),
    top: expect.arrayContaining([expect.stringContaining('sh -c')]),
    stats: '/py',
    paused: 'paused',
    listed: ['py2'],
    stopped: 4,
    killed: 137,
    commit: ['py/image:v1'],
    left: [],
  });
  expect(events).toEqual(
    expect.arrayContaining(['create', 'start', 'rename', 'stop', 'die', 'restart', 'kill', 'commit', 'destroy']),
  );
}, 900_000);

it("what the tests of Docker's library for Python do with images and volumes", async () => {
  // The answers are those of Docker Engine 28.5.2.
  expect(await python('images_and_volumes.py')).toEqual({
    'image fields': true,
    quiet: true,
    tag: [true, true],
    named: [['py/tagged:one']],
    'not there': [404, 'No such image: py/nosuch:latest'],
    inspect: [true, true, true, true, true, true],
    history: [true, true, true, true, true],
    commit: [true, 'me', 'why', { a: 'b' }],
    intermediate: [1, 409],
    removed: [['Untagged', 'Deleted']],
    gone: 404,
    import: true,
    'import file': true,
    'import changes': ['foobar', ['echo']],
    'import from nowhere': [500, 'Get "http://127.0.0.1:1/x.tar": dial tcp 127.0.0.1:1: connect: connection refused'],
    save: ['index.json', 'manifest.json', 'oci-layout', 'repositories'],
    load: [['py/imported:one']],
    'load nothing': [0],
    'bad load': 'fails',
    prune: [null, 0],
    remove: [['Untagged'], ['Untagged'], ['Untagged']],
    'remove again': [404, 'No such image: py/tagged:one'],
    volume: ['py-volume', 'local', { a: 'b' }, 'local', null],
    'bad driver': 404,
    anonymous: 64,
    list: ['py-volume'],
    'list by name': ['py-volume'],
    nothing: [404, 'get py-nosuch: no such volume'],
    mounts: [
      ['/a', 'volume', true],
      ['/b', 'volume', false],
      ['/c', 'volume', true],
    ],
    code: 0,
    output: 'data\ndata\n',
    'in use': 409,
    'volumes from': [
      ['/a', false],
      ['/b', false],
      ['/c', false],
    ],
    df: [['BuildCache', 'Containers', 'Images', 'LayersSize', 'Volumes'], [true]],
    'remove volume': [null, 404],
    'prune volumes': [1, []],
  });
}, 900_000);

describe.each([
  ['Docker Compose 1, of Debian', 'docker-compose', [] as string[]],
  ['Docker Compose 2, where the docker CLI has it', 'docker', ['compose']],
])('%s', (_, command, prefix) => {
  const compose = (...args: string[]): Promise<Outcome> =>
    ok(command, ...prefix, '--project-directory', project, '-f', join(project, 'docker-compose.yml'), ...args);

  it('brings a small stack up, lists it and takes it down', async () => {
    await compose('up', '-d');
    const listed = async (): Promise<string> => (await compose('ps', '-a')).stdout;
    await expect.poll(listed).toMatch(/\(healthy\)/);
    await expect.poll(listed).toMatch(/job.*Exit(ed)? \(?3\)?/);
    expect((await compose('logs', 'job')).stdout).toContain('job done 1');
    const port = /:(\d+)/.exec((await compose('port', 'web', '80')).stdout)![1]!;
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('<h1>It works</h1>\n');
    expect((await compose('exec', '-T', 'web', 'sh', '-c', 'echo $GREETING')).stdout).toBe('hello\n');
    expect((await compose('top', 'web')).stdout).toContain('httpd -f');
    await compose('restart', '-t', '1', 'web');
    await compose('rm', '-f', 'job');
    await compose('up', '-d', '--no-deps', 'job');
    await expect.poll(async () => (await compose('logs', 'job')).stdout).toContain('job done 2');
    await compose('stop', '-t', '1');
    await compose('down');
    expect((await stack.docker('ps', '-aq')).stdout).toBe('');
    expect((await stack.docker('volume', 'ls', '-q', '-f', 'label=of=job')).stdout).toMatch(/_kept\n$/);
    await compose('down', '-v');
    expect((await stack.docker('volume', 'ls', '-q', '-f', 'label=of=job')).stdout).toBe('');
  }, 900_000);
});

describe('the docker CLI of the release', () => {
  it('runs, lists, copies and removes', async () => {
    const docker = await oldDocker();
    const version = (await ok(docker, 'version', '--format', '{{.Client.Version}} {{.Server.Version}}')).stdout;
    expect(version).toMatch(/^\d+\.\d+\.\S+ \d+\.\d+\.\d+\+caisson\.\d+\.\d+\.\d+\n$/);
    expect((await ok(docker, 'run', '--rm', 'busybox', 'echo', 'hi')).stdout).toBe('hi\n');
    const input = await run(docker, ['run', '-i', '--rm', 'busybox', 'wc', '-c'], {
      env: environment(),
      input: 'x'.repeat(100_000),
    });
    expect(input).toEqual({ stdout: '100000\n', stderr: '', code: 0 });
    const failed = await run(docker, ['run', '--rm', 'busybox', 'nosuch'], { env: environment() });
    expect(failed.code).toBe(127);
    await ok(docker, 'run', '-d', '--name', 'old', 'busybox', 'sleep', '1000');
    expect((await ok(docker, 'ps', '--format', '{{.Names}} {{.Image}} {{.State}}')).stdout).toBe(
      'old busybox running\n',
    );
    expect((await ok(docker, 'exec', 'old', 'hostname')).stdout).toMatch(/^[0-9a-f]{12}\n$/);
    await writeFile(join(project, 'copied'), 'content');
    await ok(docker, 'cp', join(project, 'copied'), 'old:/tmp/');
    expect((await ok(docker, 'exec', 'old', 'cat', '/tmp/copied')).stdout).toBe('content');
    expect((await ok(docker, 'stats', '--no-stream', '--format', '{{.Name}}')).stdout).toBe('old\n');
    await ok(docker, 'stop', '-t', '0', 'old');
    await ok(docker, 'rm', 'old');
    expect((await ok(docker, 'images', '--format', '{{.Repository}}')).stdout).toContain('busybox');
    expect((await ok(docker, 'info', '--format', '{{.ServerVersion}}')).stdout).toMatch(/^\d/);
  }, 900_000);
});
