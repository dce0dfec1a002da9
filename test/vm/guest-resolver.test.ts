/** 127.0.0.11 in a container: questions go on to the name servers of its networks' gateways, and port 53 is the container's own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ContainerChannel } from '../../port-layer/interaction/container-channel.js';
import { buildTool, neighbour, putTool, sh, startGuest } from '../support/guest-shell.js';
import { VmLab } from '../support/vm-lab.js';

const GATEWAY = '10.9.0.1';
/** Nobody listens there, and the kernel says so. */
const REFUSES = '10.9.0.3';
/** Nobody is there. */
const NOBODY = '10.9.0.99';

let lab: VmLab;
let channel: ContainerChannel;
let server: ChildProcess;
let tools: string;

beforeAll(async () => {
  lab = await VmLab.open();
  const namespace = await neighbour(lab, [`${GATEWAY}/24`, `${REFUSES}/24`]);
  const program = fileURLToPath(new URL('../../dist/test/support/test-name-server.js', import.meta.url));
  server = spawn('nsenter', [`--net=/run/netns/${namespace}`, process.execPath, program, GATEWAY], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(server.stdout!, 'data');
  ({ channel } = await startGuest(lab, {
    address: '10.9.0.2/24',
    program: {
      nameServers: [GATEWAY],
      files: [{ path: '/etc/resolv.conf', content: 'nameserver 127.0.0.11\noptions ndots:0\n', mode: 0o644 }],
    },
  }));
  tools = await mkdtemp(join(tmpdir(), 'caisson-tool-'));
  await putTool(channel, await buildTool(tools));
});
afterAll(async () => {
  await channel?.close(true);
  server?.kill();
  await lab?.runtime.virtualSwitch.disconnectEndpoint('vm-9').catch(() => undefined);
  await lab?.close();
  await rm(tools, { recursive: true, force: true });
});

const FOUND = '1.2.3.4 from 127.0.0.11:53\n';
const ask = (kind: string, name = 'web'): Promise<string> => sh(channel, `tool ask ${kind} ${name}`);

it('answers each kind of client, and always as 127.0.0.11:53', async () => {
  expect(await sh(channel, 'nslookup web')).toMatch(/Server:\s+127\.0\.0\.11[\s\S]*Address: 1\.2\.3\.4/);
  expect(await ask('sendto')).toBe(FOUND);
  expect(await ask('connect')).toBe(FOUND);
  expect(await ask('tcp')).toBe(FOUND);
  expect(await ask('mapped')).toBe('1.2.3.4 from ::ffff:127.0.0.11:53\n');
  expect(await sh(channel, 'tool ask sendto web', '1000:1000')).toBe(FOUND);
});

it('leaves port 53 of all addresses to the container', async () => {
  expect(await sh(channel, 'tool listen')).toBe('listens\n');
});

it('is not misled by what is no answer', async () => {
  for (let round = 0; round < 3; round++) expect(await ask('sendto', 'hostile.web')).toBe(FOUND);
});

it('says that the servers failed when none answers, and goes on after a flood of such questions', async () => {
  const failed = ask('sendto', 'silent.web');
  expect(await sh(channel, 'tool flood 2000 silent.web')).toBe('flooded\n');
  expect(await failed).toMatch(/^(error 2 from 127\.0\.0\.11:53|no answer)\n$/);
  expect(await ask('sendto')).toBe(FOUND);
  expect(await ask('sendto', 'silent.web')).toBe('error 2 from 127.0.0.11:53\n');
});

it('asks the next server when one refuses or is not there', async () => {
  await channel.nameServers([REFUSES, NOBODY, GATEWAY]);
  expect(await ask('sendto')).toBe(FOUND);
  expect(await ask('tcp')).toBe(FOUND);
});

it('follows changes of its servers while the container runs; without one nothing answers', async () => {
  await channel.nameServers([]);
  expect(await ask('connect')).toBe('receive: Connection refused\n');
  expect(await ask('tcp')).toBe('connect: Connection refused\n');
  await channel.nameServers([GATEWAY]);
  expect(await ask('sendto')).toBe(FOUND);
  expect(await ask('tcp')).toBe(FOUND);
  await expect(channel.nameServers(['example.org'])).rejects.toThrow("a name server's address is wrong");
});
