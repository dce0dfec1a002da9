/** An ordinary web application by Docker Compose, old and new: names, health-gated order, scaling, restarts, and nothing left. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addComposePlugin } from '../support/clients/compose-plugin.js';
import { dockerOk } from '../support/docker-ok.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { run, type Stack } from '../support/stack.js';

let stack: Stack;
let project: string;

beforeAll(async () => {
  stack = await startMirroredStack(['services']);
  project = await mkdtemp(join(tmpdir(), 'caisson-compose-'));
  await addComposePlugin(project);
  await writeFile(join(project, 'docker-compose.yml'), FILE);
});

afterAll(async () => {
  await stack?.stop();
  if (project !== undefined) await rm(project, { recursive: true, force: true });
});

const FILE = `
x-health: &health {interval: 1s, timeout: 10s, retries: 60}
services:
  front:
    image: services
    command: /start-front
    depends_on: {api: {condition: service_healthy}}
    networks: [front]
    ports: ["127.0.0.1::8080"]
    restart: always
    volumes: ["shared:/shared"]
    healthcheck: {test: ["CMD", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080"], <<: *health}
  api:
    image: services
    command: /start-api
    # Its server, as process 1, would ignore the signal to stop.
    init: true
    depends_on: {db: {condition: service_healthy}, cache: {condition: service_healthy}}
    networks: {front: {}, back: {}}
    volumes: ["shared:/shared"]
    healthcheck: {test: ["CMD", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8000"], <<: *health}
  cache:
    image: services
    command: /start-cache
    networks: [back]
    healthcheck: {test: ["CMD", "redis-cli", "ping"], <<: *health}
  db:
    image: services
    command: /start-db
    user: postgres
    networks: [back]
    volumes: ["data:/var/lib/postgresql"]
    healthcheck: {test: ["CMD", "pg_isready", "-h", "127.0.0.1", "-U", "app"], <<: *health}
networks:
  front:
  back: {internal: true}
volumes:
  data:
  shared:
`;

const COMPOSES = [
  { name: 'Docker Compose v2', command: 'docker', first: ['compose'] },
  { name: 'docker-compose 1.29', command: 'docker-compose', first: [] },
];

describe.each(COMPOSES)('$name', ({ command, first }) => {
  const compose = async (...args: string[]): Promise<string> => {
    const env = { DOCKER_HOST: stack.dockerHost, DOCKER_CONFIG: project };
    const file = ['-p', 'shop', '-f', join(project, 'docker-compose.yml')];
    const { code, stdout, stderr } = await run(command, [...first, ...file, ...args], { env, timeoutMs: 300_000 });
    expect(code, `${args.join(' ')}: ${stderr}${stdout}`).toBe(0);
    return stdout.trim();
  };
  /** Where the application is published, once it is up. */
  const front = async (): Promise<string> => {
    const id = await compose('ps', '-q', 'front');
    const state = '{{.State.Status}} {{.State.Health.Status}}';
    await expect
      .poll(async () => (await dockerOk(stack, 'inspect', '-f', state, id)).trim(), { timeout: 120_000 })
      .toBe('running healthy');
    return compose('port', 'front', '8080');
  };
  const visit = async (at: string): Promise<string> => {
    const response = await fetch(`http://${at}/`);
    return `${response.status} ${(await response.text()).trim()}`;
  };
  const names = async (what: string): Promise<string[]> =>
    (await dockerOk(stack, what, 'ls', '--format', '{{.Name}}')).split('\n').filter((name) => name.startsWith('shop'));

  it('comes up by service names, in the order of its health', async () => {
    await compose('up', '-d');
    const at = await front();
    expect(await visit(at)).toMatch(/^200 1 visits, hello from the database, [0-9a-f]{12}$/);
    expect(await visit(at)).toMatch(/^200 2 visits/);
    expect(await names('network')).toEqual(['shop_back', 'shop_front']);
    // Both services have this volume.
    await compose('exec', '-T', 'front', 'bash', '-c', 'echo "from the front" > /shared/file');
    expect(await compose('exec', '-T', 'api', 'cat', '/shared/file')).toBe('from the front');
  });

  it('reaches each of the containers of a service that was scaled', async () => {
    await compose('up', '-d', '--no-recreate', '--scale', 'api=3');
    const answered = new Set<string>();
    const at = await front();
    for (let i = 0; i < 60 && answered.size < 3; i++) answered.add((await visit(at)).split(', ')[2] ?? '');
    expect([...answered].filter((id) => /^[0-9a-f]{12}$/.test(id))).toHaveLength(3);
    await compose('up', '-d', '--no-recreate', '--scale', 'api=1');
  });

  it('keeps its data over a restart, and a service over the end of its process', async () => {
    await compose('restart', 'db');
    // It answers a moment after it was started.
    await expect.poll(async () => visit(await front())).toMatch(/^200 \d+ visits, hello from the database/);
    const id = await compose('ps', '-q', 'front');
    await dockerOk(stack, 'exec', id, 'bash', '-c', 'kill -TERM 1');
    await expect
      .poll(async () => (await dockerOk(stack, 'inspect', '-f', '{{.RestartCount}}', id)).trim(), { timeout: 60_000 })
      .toBe('1');
    await expect.poll(async () => visit(await front())).toMatch(/^200 \d+ visits/);
  });

  it('leaves nothing when it goes down', async () => {
    await compose('down', '-v', '--remove-orphans');
    expect(await names('network')).toEqual([]);
    expect(await names('volume')).toEqual([]);
    expect((await dockerOk(stack, 'ps', '-aq')).trim()).toBe('');
  });
});
