/** Every field of the answers about containers, compared with the Engine API. */
import Dockerode from 'dockerode';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { deviations, ENGINE_API } from '../support/engine-api.js';
import { type MirroredStack, startMirroredStack } from '../support/mirrored-stack.js';

let stack: MirroredStack;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  expect((await stack.docker('pull', '-q', 'busybox')).code).toBe(0);
});

afterAll(() => stack?.stop());

/** Fields that Docker Engine also omits when they are empty. */
const LEFT_OUT = [
  // Of the configuration: fields that were not given, and Windows-only ones.
  /\.Config\.(ArgsEscaped|MacAddress|NetworkDisabled|Shell|StopSignal|StopTimeout|ExposedPorts|Healthcheck)$/,
  /\.HostConfig\.(Annotations|KernelMemoryTCP|Mounts)$/,
  // Of engines with a containerd image store.
  /\.(ImageManifestDescriptor|Descriptor|Manifests)$/,
  /^image\.(OsVersion|Variant)$/,
  // Of swarms and their volumes, firewalls, licenses, and devices.
  /^info\.(Containerd|DefaultAddressPools|DiscoveredDevices|FirewallBackend|ProductLicense)$/,
  /^info\.Swarm\.(Cluster|Managers|Nodes)$/,
  /^info\.Runtimes\.\*\.(runtimeArgs|status)$/,
  /\.(ClusterVolume|Status)$/,
  /^volumes?\.(Volumes\[\]\.)?UsageData$/,
  /^version\.Experimental$/,
  /\.SizeRw$/,
  /^wait\.Error$/,
];

it('every answer has the fields of the API, with their types, and no others', async () => {
  const { port, hostname } = new URL(stack.dockerHost.replace('tcp:', 'http:'));
  const docker = new Dockerode({ host: hostname, port: Number(port), version: 'v1.51' });
  const get = async (path: string): Promise<unknown> => {
    const answer = await fetch(`http://${hostname}:${port}/v1.51${path}`);
    expect(answer.status, path).toBe(200);
    return answer.json();
  };
  const container = await docker.createContainer({
    Image: 'busybox',
    name: 'whole',
    Cmd: ['sleep', '100'],
    Env: ['A=b'],
    Labels: { x: 'y' },
    ExposedPorts: { '80/tcp': {} },
    Healthcheck: {
      Test: ['CMD', 'true'],
      Interval: 1e9,
      Timeout: 1e10,
      StartPeriod: 1e9,
      StartInterval: 1e9,
      Retries: 2,
    },
    HostConfig: {
      PortBindings: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }] },
      Binds: ['vol:/vol'],
      Memory: 1e8,
      Init: true,
      Tmpfs: { '/t': '' },
      Sysctls: { 'net.ipv4.ip_forward': '0' },
      StorageOpt: { size: '1G' },
    },
  } as Dockerode.ContainerCreateOptions);
  await container.start();
  await expect.poll(async () => (await container.inspect()).State.Health?.Status).toBe('healthy');
  const exec = await container.exec({ Cmd: ['true'], AttachStdout: true, User: 'root' });
  await exec.start({ Detach: true });
  await container.exec({ Cmd: ['touch', '/new'] }).then((one) => one.start({ Detach: true }));
  await expect.poll(() => get('/containers/whole/changes')).not.toHaveLength(0);
  const answers: Record<string, unknown> = {
    inspect: await get('/containers/whole/json?size=1'),
    list: await get('/containers/json?all=1&size=1'),
    exec: await get(`/exec/${exec.id}/json`),
    top: await get('/containers/whole/top'),
    changes: await get('/containers/whole/changes'),
    info: await get('/info'),
    version: await get('/version'),
    df: await get('/system/df'),
    images: await get('/images/json?shared-size=1'),
    image: await get('/images/busybox/json'),
    history: await get('/images/busybox/history'),
    volumes: await get('/volumes'),
    volume: await get('/volumes/vol'),
  };
  await container.kill();
  answers.wait = await container.wait();
  for (const [what, answer] of Object.entries(answers)) {
    const { wrong, unknown, missing } = deviations(answer, ENGINE_API[what]!, what);
    expect.soft(wrong, what).toEqual([]);
    expect.soft(unknown, what).toEqual([]);
    expect
      .soft(
        missing.filter((path) => !LEFT_OUT.some((known) => known.test(path))),
        what,
      )
      .toEqual([]);
  }
});
