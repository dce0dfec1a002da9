/** The resolver of a guest (127.0.0.11) when its child or its servers die, as a program in a network namespace; no VM. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeCHeader } from '../../tether/image/c-header.js';
import { TestBridge } from '../support/namespaces.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const net = new TestBridge(`gr${process.pid}`);
const [SERVER, REFUSES] = ['172.31.0.1', '172.31.0.71'];
let directory: string;
let place: string;
let server: ChildProcess;

async function nameServer(address: string, ...how: string[]): Promise<ChildProcess> {
  const child = net.start(
    place,
    process.execPath,
    join(root, 'dist/test/support/test-name-server.js'),
    address,
    ...how,
  );
  await once(child.stdout!, 'data');
  return child;
}

/** The resolver, and what it has printed, as it comes. */
function resolver(
  how: 'moved' | 'fixed',
  ...servers: string[]
): { child: ChildProcess; line(start: string): Promise<string> } {
  const child = net.start(
    place,
    'env',
    `EMPTY_DIRECTORY=${directory}`,
    join(directory, 'guest-resolver'),
    how,
    ...servers,
  );
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  createInterface({ input: child.stdout! }).on('line', (one) => {
    lines.push(one);
    for (const look of waiting) look();
  });
  const line = (start: string): Promise<string> =>
    new Promise((resolve) => {
      const look = (): void => {
        const at = lines.findIndex((one) => one.startsWith(start));
        if (at < 0) return;
        waiting.delete(look);
        resolve(lines.splice(at, 1)[0]!.slice(start.length));
      };
      waiting.add(look);
      look();
    });
  return { child, line };
}

/** What a client is told: an address, or an error's code. */
async function ask(port: string): Promise<string> {
  const script = `const r = new (require('node:dns').Resolver)({ timeout: 15000, tries: 1 }); r.setServers(['127.0.0.11:${port}']);
r.resolve4('web.example', (e, a) => console.log(e ? e.code : a.join()));`;
  const child = net.start(place, process.execPath, '-e', script);
  let text = '';
  child.stdout!.on('data', (part: Buffer) => (text += part));
  await once(child, 'close');
  return text.trim();
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-resolver-'));
  await writeCHeader(directory);
  const sources = ['test/support/guest-resolver.c', 'tether/guest/resolver.c', 'tether/guest/resolver_forward.c'];
  const includes = [`-I${directory}`, `-I${join(root, 'tether/guest')}`];
  execFileSync('gcc', [
    ...['-D_GNU_SOURCE', '-O1', '-Wall', '-Werror', '-Wl,--wrap=chroot', ...includes],
    ...sources.map((name) => join(root, name)),
    ...['-o', join(directory, 'guest-resolver')],
  ]);
  net.open();
  place = net.host(1).name;
  net.inside(place, 'ip', 'addr', 'add', `${REFUSES}/32`, 'dev', 'lo');
  server = await nameServer(SERVER);
}, 60_000);
afterAll(async () => {
  await net.close();
  rmSync(directory, { recursive: true, force: true });
});

test.each(['moved', 'fixed'] as const)('answers go on after its child was killed; port 53 is %s', async (how) => {
  const { child, line } = resolver(how, SERVER);
  const port = how === 'moved' ? await line('port ') : '53';
  for (let round = 0; round < 2; round++) {
    expect(await ask(port)).toBe('1.2.3.4');
    process.kill(Number(await line('child ')), 'SIGKILL');
  }
  // What is asked meanwhile waits in its socket.
  expect(await ask(port)).toBe('1.2.3.4');
  child.kill();
  await once(child, 'close');
});

test('a name server that is away for a moment is waited for', async () => {
  const { child, line } = resolver('moved', SERVER);
  const port = await line('port ');
  await line('child ');
  server.kill('SIGKILL');
  await once(server, 'close');
  const answer = ask(port);
  server = await nameServer(SERVER);
  expect(await answer).toBe('1.2.3.4');
  server.kill('SIGKILL');
  await once(server, 'close');
  // For good.
  expect(await ask(port)).toBe('ESERVFAIL');
  server = await nameServer(SERVER);
  child.kill();
});

test('a server that refuses leaves the question to the next one, and the last one has the last word', async () => {
  await nameServer(REFUSES, 'refuse');
  const first = resolver('moved', REFUSES, SERVER);
  expect(await ask(await first.line('port '))).toBe('1.2.3.4');
  const second = resolver('moved', REFUSES, REFUSES);
  expect(await ask(await second.line('port '))).toBe('EREFUSED');
  first.child.kill();
  second.child.kill();
});
