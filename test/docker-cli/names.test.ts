/** How containers find each other by name. `network-chaos.test.ts` kills the server of names. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { testImage } from '../support/registry/images.js';
import { startRegistry, type TestRegistry } from '../support/registry/registry.js';
import { type Stack, startStack } from '../support/stack.js';

let registry: TestRegistry;
let stack: Stack;

/** The output of a docker command that has to succeed. */
async function docker(...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await stack.docker(...args);
  expect(code, `docker ${args.join(' ')}: ${stderr}`).toBe(0);
  return stdout.trim();
}

const run = (name: string, ...options: string[]): Promise<string> =>
  docker('run', '-d', '--name', name, ...options, 'busybox', 'sleep', '100000');

/** What a container is told of a name: addresses, in order; `not found` for none. @param kind '': what `nslookup` finds fit: names of an address */
async function asks(container: string, name: string, kind = '-type=a'): Promise<string[]> {
  const kinds = kind === '' ? [] : [kind];
  const { stdout, stderr, code } = await stack.docker('exec', container, 'nslookup', ...kinds, name);
  if (code !== 0 && /can't find/.test(stdout + stderr)) return ['not found'];
  const [, answer = ''] = stdout.split(/^Address:\s+127\.0\.0\.11.*$/m);
  return [...answer.matchAll(/(?:Address:|name =) (\S+)/g)].map(([, one]) => one!).sort();
}

const addressOf = (container: string, network: string): Promise<string> =>
  docker('inspect', '-f', `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`, container);

beforeAll(async () => {
  registry = await startRegistry();
  await registry.push(await testImage('busybox'), 'library/busybox:latest');
  stack = await startStack({ mirror: registry.address });
  await docker('network', 'create', 'front');
  await docker('network', 'create', '--internal', '--ipv6', 'back');
  await run('web', '--network', 'front', '--network-alias', 'same', '--hostname', 'host-of-web');
  await run('api', '--network', 'front', '--network-alias', 'same', '--link', 'web:site');
  await run('db', '--network', 'back', '--dns', '192.0.2.53');
});
afterAll(async () => {
  await stack?.stop();
  await registry?.stop();
});

it('by name, id, hostname, alias, link and network, in any case, and back from the address', async () => {
  const [web, api] = [await addressOf('web', 'front'), await addressOf('api', 'front')];
  const id = (await docker('inspect', '-f', '{{.Id}}', 'web')).slice(0, 12);
  for (const name of ['web', 'WEB', 'web.front', 'host-of-web', id, 'site'])
    expect(await asks('api', name)).toEqual([web]);
  expect(await asks('api', 'same')).toEqual([web, api].sort());
  expect(await asks('api', web, '')).toEqual(['web.front']);
  expect(await asks('web', 'site')).toEqual(['not found']);
  expect(await docker('exec', 'api', 'cat', '/etc/resolv.conf')).toContain(
    '\nnameserver 127.0.0.11\noptions ndots:0\n',
  );
});

it('on their own networks alone, over IPv6 too, and as soon as they have joined them', async () => {
  expect(await asks('api', 'db')).toEqual(['not found']);
  expect(await asks('db', 'db', '-type=aaaa')).toEqual([expect.stringMatching(/^fd/)]);
  await docker('network', 'connect', '--alias', 'joined', 'back', 'api');
  expect(await asks('api', 'db')).toEqual([await addressOf('db', 'back')]);
  expect(await asks('db', 'joined')).toEqual([await addressOf('api', 'back')]);
  expect(await asks('db', 'web')).toEqual(['not found']);
  await docker('network', 'disconnect', 'back', 'api');
  expect(await asks('api', 'db')).toEqual(['not found']);
  expect(await asks('db', 'api')).toEqual(['not found']);
});

it('by the new name once it has another one, and not at all once it has ended', async () => {
  await docker('rename', 'web', 'shop');
  expect(await asks('api', 'shop')).toEqual([await addressOf('shop', 'front')]);
  expect(await asks('api', 'web')).toEqual(['not found']);
  await docker('stop', '-t', '0', 'shop');
  expect(await asks('api', 'shop')).toEqual(['not found']);
  await docker('start', 'shop');
  expect(await asks('api', 'shop')).toEqual([await addressOf('shop', 'front')]);
});

it('on a network that a container of the default network joins', async () => {
  await run('late');
  expect(await docker('exec', 'late', 'cat', '/etc/resolv.conf')).not.toContain('127.0.0.11');
  await docker('network', 'connect', 'front', 'late');
  expect(await asks('late', 'api')).toEqual([await addressOf('api', 'front')]);
  expect(await asks('api', 'late')).toEqual([await addressOf('late', 'front')]);
  await docker('rm', '-f', 'late');
});
