/**
 * A virtual container host with two networks, and containers on both: real VMs and the real port layer, then the real
 * endpoint, which finds the containers and is their gateway. No Docker call can ask for a second network yet, so the
 * containers are created without the API.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openPortLayer, type PortLayer } from '../../port-layer/index.js';
import { startHostdProcess } from '../../src/cli/hostd-process.js';
import { removeEngine } from '../../src/cli/stop-engine.js';
import { createVch, powerOffVch, type Vch } from '../../src/cli/vch.js';
import { newId } from '../../src/common/ids.js';
import { instancePaths } from '../../src/common/paths.js';
import { VimClient } from '../../src/vim25/index.js';
import { expectNoneRefused, refusedSoFar } from '../support/refused-calls.js';
import { containerSpec, processSpec } from '../support/specs.js';
import { freePort } from '../support/stack.js';
import { busyboxTar, outputIn, until } from '../support/vm-lab.js';

const LAYER = `sha256:${'1'.repeat(64)}`;
const FRONT = '172.16.0';
const BACK = '10.77.0';
const paths = instancePaths(mkdtempSync(join(tmpdir(), 'caisson-networks-')));
let client: VimClient;
let vch: Vch;
let portLayer: PortLayer | undefined;

beforeAll(async () => {
  const hostd = await startHostdProcess(paths, '127.0.0.1:0', ['--warm-pool', '0']);
  client = await VimClient.connect(hostd);
  vch = await createVch(
    client,
    {
      name: 'two',
      login: hostd,
      imageStore: { datastore: 'datastore1', path: '' },
      networks: [
        { name: 'bridge', portGroup: 'front', subnet: `${FRONT}.0/16` },
        { name: 'back', portGroup: 'back', subnet: `${BACK}.0/24` },
      ],
      listen: [],
      registry: { mirrors: [], insecure: [], certificateAuthorities: [] },
      container: { cpus: 1, memoryMiB: 256, baseImageSizeGiB: 1 },
      channelDir: join(paths.runDir, 'vch', 'two'),
    },
    () => undefined,
  );
  // This process replaces it for a while.
  await powerOffVch(client, vch);
  portLayer = await openPortLayer(vch.config);
  const tar = Readable.from([await busyboxTar()], { objectMode: false });
  await portLayer.layers.write({ chainId: LAYER, parent: null, diffId: LAYER }, tar, { verify: async () => undefined });
});
afterAll(async () => {
  await portLayer?.close();
  await client?.close();
  const refused = await refusedSoFar(paths.stateDir);
  await removeEngine(paths);
  expectNoneRefused(refused);
});

/** Creates and starts a container. @returns its id */
async function run(name: string, networks: string[], script: string, annotations = {}): Promise<string> {
  const spec = containerSpec(newId(), {
    name,
    layer: LAYER,
    imageId: LAYER,
    hostname: name,
    process: processSpec(['/bin/sh', '-c', script]),
    stopTimeoutSeconds: 1,
    networks: networks.map((network) => ({ network, aliases: [] })),
    annotations: { 'docker.config': '{}', 'docker.hostConfig': '{}', ...annotations },
  });
  await portLayer!.exec.create(spec);
  await portLayer!.exec.start(spec.id);
  return spec.id;
}

const endpointLog = (): string => readFileSync(join(paths.datastoreDir, 'two', 'endpoint.log'), 'utf8').slice(-4000);

async function printed(id: string, wanted: RegExp): Promise<string> {
  let output = '';
  await until(
    async () => {
      output = await outputIn(join(paths.datastoreDir, id));
      return wanted.test(output);
    },
    `the container prints ${wanted}`,
    () => `it printed: ${output}\nendpoint: ${endpointLog()}`,
  );
  return output;
}

it('a container on two networks has a working card on each; the gateway and published ports work too', async () => {
  const port = await freePort();
  const published = [{ id: 1, containerPort: 80, protocol: 'tcp', hostIp: '127.0.0.1', hostPort: port }];
  const serve = 'mkdir /www; echo it works > /www/index.html; exec httpd -f -p 80 -h /www';
  await run('server', ['back', 'bridge'], serve, { 'docker.ports': JSON.stringify(published) });
  const reach = (address: string): string =>
    `until ping -c 1 -w 2 -I ${address.startsWith(BACK) ? 'eth1' : 'eth0'} ${address} > /dev/null; do :; done; echo ${address} answers`;
  const script = [
    'ip -o -4 address; ip route; cat /etc/hosts',
    ...[`${FRONT}.2`, `${BACK}.2`].map(reach),
    'echo no gateway yet',
    ...[`${FRONT}.1`, `${BACK}.1`].map(reach),
    'exec sleep 1000',
  ].join('; ');
  const id = await run('client', ['bridge', 'back'], script);
  const { endpoints } = portLayer!.exec.resolve(id);
  expect(endpoints.map(({ network, address }) => [network, address])).toEqual([
    ['bridge', `${FRONT}.3`],
    ['back', `${BACK}.3`],
  ]);
  expect(new Set(endpoints.map(({ mac }) => mac)).size).toBe(2);
  const output = await printed(id, /no gateway yet/);
  expect(output).toMatch(new RegExp(`eth0 +inet ${FRONT}\\.3/16`));
  expect(output).toMatch(new RegExp(`eth1 +inet ${BACK}\\.3/24`));
  // As in Docker, the first by name.
  expect(output.match(/^default .*$/gm)).toEqual([expect.stringContaining(`via ${BACK}.1 dev eth1`)]);
  expect(output).toContain(`${FRONT}.3\tclient\n${BACK}.3\tclient\n`);
  for (const server of [`${FRONT}.2`, `${BACK}.2`]) expect(output).toContain(`${server} answers`);

  await portLayer!.close();
  portLayer = undefined;
  await client.runTask('PowerOnVM_Task', vch.endpoint, {});
  expect(await printed(id, new RegExp(`${BACK.replaceAll('.', '\\.')}\\.1 answers`))).toContain(`${FRONT}.1 answers`);
  const namespace = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.split(' ')[0]!)
    .find((name) => name.endsWith(vch.endpoint.value) && name.startsWith(`csn-${paths.instance}`));
  const cards = execFileSync('ip', ['-n', namespace!, '-o', '-4', 'address'], { encoding: 'utf8' });
  expect(cards).toMatch(/eth0 +inet 172\.16\.0\.1\/16/);
  expect(cards).toMatch(/eth1 +inet 10\.77\.0\.1\/24/);
  // Published on the container's first network, which is not the host's first.
  await expect
    .poll(() =>
      fetch(`http://127.0.0.1:${port}/`).then(
        (answer) => answer.text(),
        () => '',
      ),
    )
    .toBe('it works\n');
});
