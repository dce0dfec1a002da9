/** Policies as an administrator and a project set them, between real containers. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type MirroredStack, startMirroredStack } from '../support/mirrored-stack.js';
import type { Outcome } from '../support/stack.js';

let stack: MirroredStack;
let directory: string;
let address: string;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  directory = mkdtempSync(join(tmpdir(), 'caisson-policy-'));
  const started = await Promise.all([
    run('-d', '--name', 'db', '--label', 'role=db', 'busybox', 'sh', '-c', 'httpd -p 80; httpd -p 81; sleep 1000'),
    run('-d', '--name', 'api', '--label', 'role=api', 'busybox', 'sleep', '1000'),
    run('-d', '--name', 'web', '--label', 'role=web', 'busybox', 'sleep', '1000'),
  ]);
  expect(started.map(({ code }) => code)).toEqual([0, 0, 0]);
  address = (await stack.docker('inspect', '-f', '{{.NetworkSettings.IPAddress}}', 'db')).stdout.trim();
});

afterAll(async () => {
  await stack?.stop();
  rmSync(directory, { recursive: true, force: true });
});

const run = (...args: string[]): Promise<Outcome> => stack.docker('run', ...args);
/** A shell command that succeeds if the database's server answers: it has no page to show. */
const say = (port: number): string => `timeout 3 wget -q -O - http://${address}:${port}/ 2>&1 | grep -q 404`;
const reaches = async (name: string, port = 80): Promise<boolean> =>
  (await stack.docker('exec', name, 'sh', '-c', say(port))).code === 0;
const policy = (command: string, ...args: string[]): Promise<Outcome> =>
  stack.vicMachine('policy', command, '--name', 'test', ...args);

async function set(tier: string, text: string): Promise<Outcome> {
  const file = join(directory, `${tier}.yaml`);
  writeFileSync(file, text);
  return policy('set', '--tier', tier, '--file', file);
}

/** By the API. @returns the status */
async function put(text: string): Promise<number> {
  const url = `http://127.0.0.1:${stack.port}/caisson/policy/project`;
  return (await fetch(url, { method: 'PUT', body: text })).status;
}

const trace = (from: string, to: string): Promise<Outcome> =>
  stack.vicMachine('network', 'trace', '--name', 'test', '--from', from, '--to', to);

const PROJECT = `
rules:
  - { name: api-to-db, direction: in, select: { labels: { role: db } }, peer: { labels: { role: api } }, ports: 80, action: allow }
  - { name: db-alone, direction: in, select: { labels: { role: db } }, peer: { names: "*" }, action: drop }
`;

test('a policy holds for containers that run and for those that start, and survives the endpoint', async () => {
  await expect.poll(() => reaches('web')).toBe(true);
  expect((await set('project', PROJECT)).stderr).toBe('');
  expect(await Promise.all([reaches('api'), reaches('api', 81), reaches('web')])).toEqual([true, false, false]);
  // The very first that they do.
  const first = await Promise.all(
    ['api', 'web'].map((role) => run('--rm', '--label', `role=${role}`, 'busybox', 'sh', '-c', say(80))),
  );
  expect(first.map(({ code }) => code === 0)).toEqual([true, false]);
  // Called otherwise, a container is still what its labels say.
  await stack.docker('rename', 'web', 'api-2');
  expect(await reaches('api-2')).toBe(false);
  await stack.docker('rename', 'api-2', 'web');

  const { pid } = JSON.parse(readFileSync(join(stack.paths.runDir, 'vch', 'test', 'endpoint.json'), 'utf8')) as {
    pid: number;
  };
  process.kill(pid, 'SIGKILL');
  await expect.poll(async () => (await stack.docker('version')).code).toBe(0);
  expect(await Promise.all([reaches('api'), reaches('web')])).toEqual([true, false]);
  await stack.restartHostd();
  expect(await Promise.all([reaches('api'), reaches('web')])).toEqual([true, false]);
});

test('a trace says which rule decides, by the model and by a packet', async () => {
  const passed = await trace('api', 'db:80');
  expect([passed.code, passed.stdout]).toEqual([
    0,
    expect.stringMatching(/^switch +there +passes +project\/api-to-db /m),
  ]);
  expect(passed.stdout).toMatch(/^switch +back +passes /m);
  const dropped = await trace('web', 'db:80');
  expect(dropped.code).toBe(2);
  expect(dropped.stdout).toMatch(/^model +there +drop +project\/db-alone /m);
  expect(dropped.stdout).toMatch(/^switch +there +drop +project\/db-alone /m);
  const counters = (await policy('counters')).stdout;
  expect(Number(/project\/db-alone +drop +(\d+)/.exec(counters)?.[1])).toBeGreaterThan(0);
});

test("an administrator's rules come first, and are not a project's to change", async () => {
  const wrong = await set('admin', 'rules:\n  - { name: quarantine, direction: out, action: deny }\n');
  expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('line 2: rules[0].action: ')]);
  expect(await reaches('api')).toBe(true);
  const admin = 'rules: [{ name: quarantine, direction: out, select: { names: api }, action: drop }]';
  expect((await set('admin', admin)).code).toBe(0);
  expect(await reaches('api')).toBe(false);
  expect((await policy('show')).stdout).toMatch(/^admin\/quarantine +out +drop$/m);
  const refused = await fetch(`http://127.0.0.1:${stack.port}/caisson/policy/admin`, { method: 'PUT', body: '' });
  expect(refused.status).toBe(403);
  expect((await set('admin', '')).code).toBe(0);
  expect(await reaches('api')).toBe(true);
  expect((await set('project', '')).code).toBe(0);
  expect(await reaches('web')).toBe(true);
});

test('what is rejected is refused at once', async () => {
  const text = 'rules: [{ name: no, direction: in, select: { names: db }, peer: { names: web }, action: reject }]';
  expect(await put(text)).toBe(204);
  const { stdout, stderr } = await stack.docker('exec', 'web', 'wget', '-O', '-', `http://${address}/`);
  expect(stdout + stderr).toContain('Connection refused');
  expect(await reaches('api')).toBe(true);
});

test('rules follow a running container onto another network and off it, and to another name', async () => {
  const text = `
rules:
  - { name: guarded, direction: in, select: { networks: "guard*" }, action: drop }
  - { name: by-name, direction: in, select: { names: quiet }, action: drop }
`;
  expect(await put(text)).toBe(204);
  await stack.docker('network', 'create', 'guarded');
  expect(await reaches('web')).toBe(true);
  await stack.docker('network', 'connect', 'guarded', 'db');
  await stack.docker('network', 'connect', 'guarded', 'web');
  expect(await reaches('web')).toBe(false);
  const there = await stack.docker('inspect', '-f', '{{.NetworkSettings.Networks.guarded.IPAddress}}', 'db');
  const other = `timeout 3 wget -q -O - http://${there.stdout.trim()}:80/ 2>&1 | grep -q 404`;
  expect((await stack.docker('exec', 'web', 'sh', '-c', other)).code).not.toBe(0);
  await stack.docker('network', 'disconnect', 'guarded', 'db');
  expect(await reaches('web')).toBe(true);
  await stack.docker('rename', 'db', 'quiet');
  expect(await reaches('web')).toBe(false);
  await stack.docker('rename', 'quiet', 'db');
  expect(await reaches('web')).toBe(true);
});

test('who may reach nothing outside but certain names looks up no others', async () => {
  const refused = async (): Promise<number | undefined> => {
    const answer = await fetch(`http://127.0.0.1:${stack.port}/caisson/policy/counters`);
    const rows = (await answer.json()) as { Rule: string; Packets: number }[];
    return rows.find(({ Rule }) => Rule === 'lookups')?.Packets;
  };
  const asks = async (name: string): Promise<string> => {
    const { stdout, stderr } = await stack.docker('exec', 'web', 'nslookup', '-type=a', name);
    return stdout + stderr;
  };
  expect((await set('default', 'preset: locked')).stderr).toBe('');
  const text = 'rules: [{ name: mirror, direction: out, peer: { fqdns: ["*.allowed.example"] }, action: allow }]';
  expect(await put(text)).toBe(204);
  expect(await asks('secret.stolen.example')).toContain('NXDOMAIN');
  await expect.poll(refused).toBeGreaterThan(0);
  const before = await refused();
  await asks('www.allowed.example');
  // Others are told after what came before.
  expect(await refused()).toBe(before);
  expect(await asks('web')).toMatch(/Address: .*\d+\.\d+\.\d+\.\d+\s*$/);
  expect((await set('default', '')).stderr).toBe('');
  expect(await put('')).toBe(204);
});
