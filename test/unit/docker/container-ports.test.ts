import { beforeEach, expect, it } from 'vitest';
import { ContainerPorts } from '../../../appliance/docker/networks/container-ports.js';
import { PortMapper } from '../../../appliance/gateway/index.js';
import { type ContainerInfo, type NetworkEndpoint, wholeEndpoint } from '../../../port-layer/index.js';

const INTERNAL = 'inner';
let listening: Map<number, string>;
let taken: Set<number>;
let container: ContainerInfo;
let bindings: Record<string, string>;
let ports: ContainerPorts;
/** Subnets that the gateway has no address on. */
let unreached: string[];

const networks = () =>
  ['a', 'b', INTERNAL, 'lan', 'shut'].map((name) => ({
    ...{ id: name, name, ipv4: true, ipv6: false, internal: name === INTERNAL },
    kind: name === 'lan' || name === 'shut' ? 'external' : 'bridge',
    trust: name === 'lan' ? 'published' : 'outbound',
    pools: [{ subnet: `${name}/24`, gateway: `${name}.1`, aux: {} }],
    options: name in bindings ? { 'com.docker.network.bridge.host_binding_ipv4': bindings[name] } : {},
  }));

const gateway = {
  publish: async (id: number, _protocol: string, host: string, port: number) => {
    if (taken.has(port)) throw Object.assign(new Error('taken'), { code: 'EADDRINUSE', address: host, port });
    const bound = port || 40_000 + id;
    listening.set(id, `${host} ${bound}`);
    return bound;
  },
  target: (id: number, address: string, port: number) =>
    void listening.set(id, `${listening.get(id)?.split(' → ')[0]} → ${address} ${port}`),
  close: (id: number) => void listening.delete(id),
  reaches: (subnets: string[]) => !subnets.some((one) => unreached.includes(one)),
};

const endpoint = (network: string, address: string): NetworkEndpoint =>
  wholeEndpoint({ network, networkId: network, address, internal: network === INTERNAL });

function on(...endpoints: [network: string, address: string][]): void {
  const { spec } = container;
  container = {
    ...container,
    spec: { ...spec, networks: endpoints.map(([network]) => ({ network, aliases: [] })) },
    endpoints: endpoints.map(([network, address]) => endpoint(network, address)),
  };
}

beforeEach(() => {
  [listening, taken] = [new Map(), new Set()];
  const hostConfig = {
    PortBindings: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '8080' }, { HostIp: '127.0.0.1' }] },
  };
  container = {
    spec: { id: 'c', name: 'web', networks: [], annotations: { 'docker.hostConfig': JSON.stringify(hostConfig) } },
    state: 'running',
    running: true,
    endpoints: [],
  } as unknown as ContainerInfo;
  const exec = {
    list: () => [container],
    resolve: () => container,
    annotate: async (_: string, more: Record<string, string>) => {
      container = {
        ...container,
        spec: { ...container.spec, annotations: { ...container.spec.annotations, ...more } },
      };
    },
  };
  bindings = {};
  unreached = [];
  const network = { list: () => networks() };
  ports = new ContainerPorts(new PortMapper(gateway as never), exec as never, network as never);
});

const kept = (): unknown => JSON.parse(container.spec.annotations['docker.ports'] ?? 'null');

it('a container that is on internal networks only publishes nothing, and what it asks for once it is on another', async () => {
  on([INTERNAL, '10.0.0.2']);
  expect(await ports.reserve(container)).toEqual({ 'docker.ports': '[]' });
  ports.activate(container);
  expect(listening.size).toBe(0);
  on([INTERNAL, '10.0.0.2'], ['a', '10.1.0.2']);
  await ports.follow('c');
  expect([...listening.values()]).toEqual(['127.0.0.1 8080 → 10.1.0.2 80', '127.0.0.1 40002 → 10.1.0.2 80']);
  expect(kept()).toMatchObject([{ hostPort: 8080 }, { hostPort: 40_002 }]);
});

it('ports follow the main endpoint with the same numbers, and go with the last network that leads out', async () => {
  on(['b', '10.2.0.2']);
  await ports.reserve(container);
  ports.activate(container);
  on(['b', '10.2.0.2'], ['a', '10.1.0.2']);
  await ports.follow('c');
  expect([...listening.values()]).toEqual(['127.0.0.1 8080 → 10.1.0.2 80', '127.0.0.1 40002 → 10.1.0.2 80']);
  on([INTERNAL, '10.0.0.2']);
  await ports.follow('c');
  expect(listening.size).toBe(0);
  expect(kept()).toEqual([]);
});

it('a port that is taken by then is refused in Docker’s words for a connect, and none stays open', async () => {
  on([INTERNAL, '10.0.0.2']);
  await ports.reserve(container);
  taken.add(8080);
  on(['a', '10.1.0.2']);
  await expect(ports.follow('c')).rejects.toThrow(
    /^driver failed programming external connectivity on endpoint web \([0-9a-f]{64}\): failed to bind host port for 127.0.0.1:8080:80\/tcp: address already in use$/,
  );
  expect(listening.size).toBe(0);
  // The next change finds nothing of it in its way.
  taken.clear();
  await ports.follow('c');
  expect(listening.size).toBe(2);
});

it('on a network where the endpoint has no address, ports are refused before anything listens', async () => {
  unreached = ['a/24'];
  on(['a', '10.1.0.2']);
  const why = 'ports cannot be published on network a: this endpoint has no address on it (it needs a.1)';
  await expect(ports.reserve(container)).rejects.toMatchObject({ kind: 'unsupported', message: why });
  await expect(ports.follow('c')).rejects.toThrow(why);
  expect(listening.size).toBe(0);
  // One that publishes nothing starts there.
  container = { ...container, spec: { ...container.spec, annotations: { 'docker.hostConfig': '{}' } } };
  expect(await ports.reserve(container)).toEqual({ 'docker.ports': '[]' });
});

it('a container that does not run is left alone', async () => {
  on(['a', '10.1.0.2']);
  container = { ...container, state: 'exited', running: false } as ContainerInfo;
  await ports.follow('c');
  expect(listening.size).toBe(0);
});

it('an endpoint that is started again publishes the same ports', async () => {
  on(['a', '10.1.0.2']);
  const annotations = { ...container.spec.annotations, ...(await ports.reserve(container)) };
  container = { ...container, spec: { ...container.spec, annotations } };
  const before = kept();
  listening.clear();
  const exec = { list: () => [container], resolve: () => container, annotate: async () => undefined };
  const restarted = new ContainerPorts(new PortMapper(gateway as never), exec as never, { list: () => [] });
  await restarted.restore();
  expect(restarted.of(container).map(({ hostPort }) => hostPort)).toEqual(
    (before as { hostPort: number }[]).map((one) => one.hostPort),
  );
  expect([...listening.values()]).toEqual(['127.0.0.1 8080 → 10.1.0.2 80', '127.0.0.1 40002 → 10.1.0.2 80']);
});

it('ports on no particular address go where the main network wants them', async () => {
  const hostConfig = { PortBindings: { '80/tcp': [{ HostPort: '8080' }] } };
  container.spec.annotations = { 'docker.hostConfig': JSON.stringify(hostConfig) };
  bindings = { a: '127.0.0.1', b: '127.0.0.2' };
  on(['b', '10.2.0.2'], ['a', '10.1.0.2'], [INTERNAL, '10.0.0.2']);
  await ports.reserve(container);
  expect([...listening.values()]).toEqual(['127.0.0.1 8080']);
  container.spec.networks[0]!.gwPriority = 1;
  ports.release('c');
  await ports.reserve(container);
  expect([...listening.values()]).toEqual(['127.0.0.2 8080']);
  bindings = {};
  ports.release('c');
  await ports.reserve(container);
  expect([...listening.values()]).toEqual(['0.0.0.0 8080', ':: 8080']);
});

const asking = (...bindings: { HostIp?: string; HostPort?: string }[]): void => {
  const hostConfig = JSON.stringify({ PortBindings: { '80/tcp': bindings } });
  container = { ...container, spec: { ...container.spec, annotations: { 'docker.hostConfig': hostConfig } } };
};

it('on a container network they are the ports of its own address, and nothing listens for them', async () => {
  asking({ HostPort: '80' }, {}, { HostPort: '8001', HostIp: '0.0.0.0' }, { HostPort: '8010-8020' });
  on(['lan', '10.9.0.10']);
  expect(await ports.reserve(container)).toEqual({ 'docker.ports': '[]' });
  ports.activate(container);
  expect(listening.size).toBe(0);
  const own = { containerPort: 80, protocol: 'tcp', hostIp: '10.9.0.10' };
  expect(ports.of(container)).toEqual([80, 8001, 8010].map((hostPort) => ({ ...own, id: 0, hostPort })));
  container = { ...container, state: 'exited', running: false } as ContainerInfo;
  expect(ports.of(container)).toEqual([]);
});

it('ports that a container network cannot publish are refused before anything runs', async () => {
  on(['lan', '']);
  asking({ HostIp: '127.0.0.1' });
  await expect(ports.reserve(container)).rejects.toThrow('it cannot be published on 127.0.0.1');
  on(['shut', '']);
  asking({});
  await expect(ports.reserve(container)).rejects.toThrow(
    'ports cannot be published via container network shut (firewall configured as "outbound")',
  );
});

it('ports that the machine listens for go when the container network becomes its way out', async () => {
  asking({ HostPort: '80' });
  on(['a', '10.1.0.2']);
  await ports.reserve(container);
  ports.activate(container);
  expect(listening.size).toBe(2);
  on(['lan', '10.9.0.10']);
  await ports.follow('c');
  expect(listening.size).toBe(0);
  expect(ports.of(container)).toMatchObject([{ hostIp: '10.9.0.10', hostPort: 80 }]);
});
