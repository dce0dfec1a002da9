/**
 * The contract of every port layer: the real one, over a host with VMs, and the fake that tests of the Docker API use.
 * Each of them runs these tests (`test/vm/port-layer-contract.test.ts`, `test/unit/port-layer/contract.test.ts`), so
 * that they cannot drift apart. Errors are compared by kind, code and subject.
 */
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type {
  AttachedStreams,
  ContainerEvent,
  ContainerSpec,
  ErrorCode,
  ErrorSubject,
  OutputChunk,
  PortLayer,
  ProcessSpec,
} from '../../port-layer/index.js';
import type { ErrorKind } from '../../src/common/errors.js';
import { newId } from '../../src/common/ids.js';
import { containerSpec, processSpec } from '../support/specs.js';

/** A port layer to test. */
export interface Subject {
  portLayer: PortLayer;
  /** Chain id of a layer with a shell and its commands in /bin; null to use the machine's own. */
  layer: string | null;
  close(): Promise<void>;
}

const STREAMS = { stdin: true, stdout: true, stderr: true };
const NOBODY = 'f'.repeat(64);

export function portLayerContract(open: () => Promise<Subject>): void {
  let subject: Subject;
  let portLayer: PortLayer;
  const events: ContainerEvent[] = [];

  beforeAll(async () => {
    subject = await open();
    portLayer = subject.portLayer;
    portLayer.onEvent((event) => events.push(event));
  });
  afterAll(async () => subject?.close());

  const sh = (script: string): ProcessSpec =>
    processSpec(['/bin/sh', '-c', script], { env: ['PATH=/bin:/usr/bin'], openStdin: true });

  /** Creates a container. @returns its id */
  const create = async (name: string, process: ProcessSpec, more: Partial<ContainerSpec> = {}): Promise<string> => {
    const { layer } = subject;
    const { spec } = await portLayer.exec.create(
      containerSpec(newId(), {
        name,
        layer,
        imageId: layer ?? `sha256:${'0'.repeat(64)}`,
        imageName: 'busybox',
        memoryMiB: 128,
        hostname: name,
        process,
        stopTimeoutSeconds: 1,
        networks: [{ network: 'bridge', aliases: [] }],
        annotations: { kept: 'yes' },
        ...more,
      }),
    );
    return spec.id;
  };

  const seen = (id: string): string[] =>
    events.filter(({ container }) => container.spec.id === id).map(({ type }) => type);

  it('containers are found by name, id and id prefix', async () => {
    const { exec } = portLayer;
    const ids = await Promise.all(
      ['one', 'two'].map((name, index) => create(name, sh('true'), { id: `abcdef${index}`.padEnd(64, '0') })),
    );
    for (const reference of ['one', '/one', ids[0]!, 'abcdef0']) expect(exec.resolve(reference).spec.name).toBe('one');
    await fails(() => exec.resolve('abcdef'), 'conflict', 'container.ambiguous', { prefix: 'abcdef' });
    for (const reference of ['nosuch', NOBODY, ''])
      await fails(() => exec.resolve(reference), 'notFound', 'container.notFound', { reference });
    expect(exec.list().map(({ spec }) => spec.name)).toEqual(expect.arrayContaining(['one', 'two']));

    const taken = { name: 'two', holder: ids[1]! };
    await fails(create('two', sh('true')), 'conflict', 'container.nameTaken', taken);
    await fails(exec.rename(ids[0]!, 'two'), 'conflict', 'container.nameTaken', taken);
    await exec.rename(ids[0]!, 'three');
    expect(exec.resolve('three').spec.id).toBe(ids[0]);
    await fails(() => exec.resolve('one'), 'notFound', 'container.notFound', { reference: 'one' });
    await Promise.all(ids.map((id) => exec.remove(id, { force: false })));
  });

  it('a container that never ran', async () => {
    const { exec, interaction, observe, files } = portLayer;
    const id = await create('created', sh('true'));
    const notRunning = ['conflict', 'container.notRunning', { container: id }] as const;
    expect(exec.resolve(id)).toMatchObject({
      state: 'created',
      exitCode: 0,
      startedAt: null,
      finishedAt: null,
      paused: false,
      pid: 0,
    });
    await fails(exec.stop(id, {}), 'notModified', 'container.alreadyStopped', { container: id });
    await fails(exec.kill(id, 9), ...notRunning);
    await fails(exec.pause(id), ...notRunning);
    await fails(exec.unpause(id), 'unavailable', 'container.notPaused', { container: id });
    await fails(interaction.resize(id, { rows: 1, cols: 1 }), ...notRunning);
    await fails(interaction.execCreate(id, sh('true'), STREAMS), ...notRunning);
    await fails(observe.processes(id), ...notRunning);
    await fails(observe.meter(id), ...notRunning);
    await fails(files.stat(id, '/nosuch'), 'notFound', 'files.notFound', { container: id, path: '/nosuch' });
    await fails(files.archive(id, '/nosuch'), 'notFound', 'files.notFound', { container: id, path: '/nosuch' });
    expect((await files.stat(id, '/etc')).name).toBe('etc');
    expect(await text(await interaction.logs(id, { follow: false, stdout: true, stderr: true }))).toBe('');
    expect(await exec.wait(id, 'not-running')).toMatchObject({ exitCode: 0, oomKilled: false });

    await exec.annotate(id, { more: '1' });
    const update = { cpus: 1, memoryMiB: 256, limits: {}, annotations: { more: '2' } };
    expect(await exec.update(id, update)).toMatchObject({ cpus: 1, memoryMiB: 256 });
    expect(exec.resolve(id).spec).toMatchObject({ memoryMiB: 256, annotations: { kept: 'yes', more: '2' } });

    const removed = exec.wait(id, 'removed');
    await exec.remove(id, { force: false });
    expect(await removed).toMatchObject({ exitCode: 0 });
    await fails(() => exec.resolve(id), 'notFound', 'container.notFound', { reference: id });
    expect(seen(id)).toEqual(['created', 'removed']);
    for (const call of [() => exec.start(id), () => exec.stop(id, {}), () => exec.remove(id, { force: true })])
      await fails(call, 'notFound', 'container.notFound', { reference: id });
  });

  it('a running container: streams, execs, pausing, and its end', async () => {
    const { exec, interaction, observe, network } = portLayer;
    const id = await create('main', sh('echo begun; read line; echo "got $line"; echo wrong >&2; exec sleep 1000'));
    const streams = await interaction.attach(id, { stdin: true, logs: false, stream: true });
    const read = reading(streams);
    await exec.start(id);
    await read('begun\n');
    streams.stdin!.write('this\n');
    await read('begun\ngot this\n');
    expect(exec.resolve(id)).toMatchObject({ state: 'running', exitCode: 0, finishedAt: null });
    expect(exec.resolve(id).pid).toBeGreaterThan(0);
    expect(network.resolve('bridge').endpoints.map(({ containerName }) => containerName)).toEqual(['main']);
    await fails(exec.start(id), 'notModified', 'container.alreadyRunning', { container: id });
    await fails(exec.remove(id, { force: false }), 'conflict', 'container.stillRunning', {
      container: id,
      name: 'main',
    });
    expect((await observe.processes(id)).processes.length).toBeGreaterThan(0);

    await execs(id);

    await exec.pause(id);
    expect(exec.resolve(id)).toMatchObject({ state: 'running', paused: true });
    await fails(exec.pause(id), 'conflict', 'container.alreadyPaused', { container: id });
    await exec.unpause(id);
    expect(exec.resolve(id)).toMatchObject({ state: 'running', paused: false });
    await fails(exec.unpause(id), 'unavailable', 'container.notPaused', { container: id });

    const given = new AbortController();
    const waiting = exec.wait(id, 'not-running', given.signal);
    given.abort();
    await expect(waiting).rejects.toMatchObject({ kind: 'cancelled' });
    const ends = Promise.all([exec.wait(id, 'not-running'), exec.wait(id, 'next-exit')]);
    await exec.kill(id, 9);
    expect(await ends).toMatchObject([{ exitCode: 137 }, { exitCode: 137 }]);
    expect(exec.resolve(id)).toMatchObject({ state: 'exited', exitCode: 137, pid: 0 });
    expect(network.resolve('bridge').endpoints).toEqual([]);
    await fails(exec.kill(id, 9), 'conflict', 'container.notRunning', { container: id });

    const log = { follow: false, stdout: true, stderr: true };
    expect(await text(await interaction.logs(id, log))).toBe('begun\ngot this\nwrong\n');
    expect(await text(await interaction.logs(id, { ...log, stderr: false, tail: 2 }))).toBe('got this\n');
    expect(seen(id)).toEqual(['created', 'starting', 'started', 'paused', 'unpaused', 'exited']);
    await exec.remove(id, { force: false });
    await fails(interaction.logs(id, log), 'notFound', 'container.notFound', { reference: id });
  });

  async function execs(id: string): Promise<void> {
    const { interaction } = portLayer;
    const unknown = ['notFound', 'exec.notFound', { exec: NOBODY }] as const;
    await fails(() => interaction.execInspect(NOBODY), ...unknown);
    await fails(() => interaction.execWait(NOBODY), ...unknown);
    await fails(interaction.execStart(NOBODY, { detach: true }), ...unknown);
    await fails(interaction.execKill(NOBODY, 9), ...unknown);
    await fails(interaction.execCreate(id, { ...sh(''), args: [] }, STREAMS), 'invalid', 'exec.noCommand', {});
    await fails(interaction.checkUser(id, 'nosuch'), 'invalid', 'process.unknownUser', { of: 'exec' });
    await interaction.checkUser(id, '1000:1000');

    const { id: good } = await interaction.execCreate(id, sh('cat; exit 7'), STREAMS);
    expect(interaction.execInspect(good)).toMatchObject({ containerId: id, running: false, exitCode: null });
    expect(interaction.execIds(id)).toEqual([good]);
    await fails(() => interaction.execWait(good), 'conflict', 'exec.notStarted', { exec: good });
    const streams = await interaction.execStart(good, { detach: false });
    await fails(interaction.execStart(good, { detach: false }), 'conflict', 'exec.alreadyRunning', { exec: good });
    expect(interaction.execInspect(good).running).toBe(true);
    streams!.stdin!.end('to and fro');
    expect(await text(streams!.output)).toBe('to and fro');
    expect(await interaction.execWait(good)).toBe(7);
    expect(interaction.execInspect(good)).toMatchObject({ running: false, exitCode: 7 });
    expect(interaction.execIds(id)).toEqual([]);
    await fails(interaction.execStart(good, { detach: false }), 'conflict', 'exec.alreadyRun', { exec: good });
    await fails(interaction.execResize(good, { rows: 1, cols: 1 }), 'notFound', 'exec.ended', { exec: good });
    await interaction.execKill(good, 9);

    const { id: missing } = await interaction.execCreate(id, { ...sh(''), args: ['/nosuch'] }, STREAMS);
    const notStarted = { of: 'exec', exitCode: 127 } as const;
    await fails(interaction.execStart(missing, { detach: true }), 'invalid', 'process.notStarted', notStarted);
    expect(interaction.execInspect(missing)).toMatchObject({ running: false, exitCode: 127 });
    const badly: ProcessSpec[] = [{ ...sh(''), cwd: 'here' }];
    for (const process of badly) {
      const { id: bad } = await interaction.execCreate(id, process, STREAMS);
      await fails(interaction.execStart(bad, { detach: true }), 'invalid', 'exec.relativeDirectory', {
        directory: 'here',
      });
    }
  }

  it('a container that cannot be started, and one that removes itself', async () => {
    const { exec } = portLayer;
    const id = await create('unstartable', { ...sh(''), args: ['/nosuch'] }, { networks: [] });
    await fails(exec.start(id), 'invalid', 'process.notStarted', { of: 'container', exitCode: 127 });
    expect(exec.resolve(id)).toMatchObject({ state: 'created', exitCode: 127, startedAt: null });
    expect(seen(id)).toEqual(['created', 'starting', 'startFailed']);
    await exec.remove(id, { force: false });

    const prepared = new Error('the caller is not ready');
    const own = await create('unprepared', sh('true'), { networks: [] });
    await expect(exec.start(own, () => Promise.reject(prepared))).rejects.toBe(prepared);
    expect(exec.resolve(own)).toMatchObject({ state: 'created', exitCode: 128 });
    await exec.remove(own, { force: true });

    const short = await create('short', sh('exit 3'), { autoRemove: true, networks: [] });
    const removed = exec.wait(short, 'removed');
    await exec.start(short);
    expect(await removed).toMatchObject({ exitCode: 3 });
    expect(seen(short)).toEqual(['created', 'starting', 'started', 'exited', 'removed']);
  });

  it('volumes, small values and networks', async () => {
    const { volumes, kv, network, exec } = portLayer;
    const volume = { name: 'vol', driver: 'local', labels: { a: 'b' }, options: null };
    const made = await volumes.create({ ...volume, capacityBytes: 16 << 20 });
    expect(made).toMatchObject({ ...volume, capacityBytes: 16 << 20 });
    expect(await volumes.create({ ...volume, labels: null })).toEqual(made);
    expect(volumes.get('vol')).toEqual(made);
    expect(volumes.list().map(({ name }) => name)).toEqual(['vol']);
    const user = await create('user', sh('true'), { volumes: [{ volume: 'vol', path: '/v', readOnly: false }] });
    await fails(volumes.remove('vol'), 'conflict', 'volume.inUse', { volume: 'vol' });
    await exec.remove(user, { force: false });
    await volumes.remove('vol');
    const unknown = ['notFound', 'volume.notFound', { volume: 'vol' }] as const;
    await fails(volumes.remove('vol'), ...unknown);
    await fails(volumes.usage('vol'), ...unknown);
    await fails(volumes.populate('vol', { layer: subject.layer, path: '/bin' }), ...unknown);
    expect(volumes.get('vol')).toBeUndefined();

    expect(await kv.get('contract.test')).toBeUndefined();
    await kv.put('contract.test', Buffer.from('1'));
    await kv.put('contract.test', Buffer.from('22'));
    expect((await kv.get('contract.test'))?.toString()).toBe('22');
    await kv.delete('contract.test');
    await kv.delete('contract.test');
    expect(await kv.get('contract.test')).toBeUndefined();

    const { id, name } = network.resolve('bridge');
    expect([network.resolve(id).name, network.resolve(id.slice(0, 12)).name]).toEqual([name, name]);
    expect(network.list().map((one) => one.name)).toContain('bridge');
    await fails(() => network.resolve('nosuch'), 'notFound', 'network.notFound', { network: 'nosuch' });
  });

  it('networks that users make, and containers on them', async () => {
    const { exec, network } = portLayer;
    const told: string[] = [];
    const quiet = network.onChange(({ type, network: { name } }) => told.push(`${type} ${name}`));
    const plain = { ipv4: true, ipv6: false, internal: false, attachable: false };
    const make = (name: string, more: object = {}) =>
      network.create({ name, pools: [], ...plain, labels: {}, options: {}, ipamOptions: null, ...more });

    const made = await make('made', { pools: [{ subnet: '10.99.0.0/24' }], labels: { a: 'b' }, mtu: 1400 });
    expect(made).toMatchObject({ name: 'made', kind: 'bridge', driver: 'bridge', labels: { a: 'b' }, mtu: 1400 });
    expect(made).toMatchObject({ predefined: false, subnet: '10.99.0.0/24', gateway: '10.99.0.1', endpoints: [] });
    expect(network.resolve('made')).toEqual(made);
    await fails(make('made'), 'conflict', 'network.nameTaken', { name: 'made' });
    await fails(make('bridge'), 'forbidden', 'network.predefined', { network: 'bridge', doing: 'create' });
    await fails(make('none', { ipv4: false }), 'invalid', 'network.noFamily', {});
    await fails(network.remove('bridge'), 'forbidden', 'network.predefined', { network: 'bridge', doing: 'remove' });
    await fails(network.remove('nosuch'), 'notFound', 'network.notFound', { network: 'nosuch' });

    expect(await make('config', { kind: 'config' })).toMatchObject({ kind: 'config', driver: 'null', pools: [] });
    await fails(make('x', { configFrom: 'made' }), 'notFound', 'network.noConfiguration', { network: 'made' });
    const from = await make('from', { configFrom: 'config', segmentName: 'segment' });
    expect(from).toMatchObject({ configFrom: 'config', portGroup: expect.stringContaining('segment') });
    const taken = { segment: 'segment', network: 'from', other: from.id };
    await fails(make('x', { segmentName: 'segment' }), 'forbidden', 'network.segmentTaken', taken);
    await fails(network.remove('config'), 'forbidden', 'network.configurationInUse', { network: 'config' });

    const id = await create('member', sh('exec sleep 1000'), { networks: [{ network: 'made', aliases: [] }] });
    await network.connect(id, 'from', { aliases: ['other'] });
    await network.disconnect(id, 'from');
    await fails(network.disconnect(id, 'from'), 'forbidden', 'network.notOn', { network: 'from' });
    await exec.start(id);
    const on = (): string[] => exec.resolve(id).endpoints.map((one) => one.network);
    expect(on()).toEqual(['made']);
    await network.connect(id, from.id, { aliases: ['other'] });
    expect(on()).toEqual(['made', 'from']);
    expect(network.resolve('from').endpoints).toMatchObject([{ containerName: 'member', aliases: ['other'] }]);
    await fails(network.connect(id, 'from', { aliases: [] }), 'forbidden', 'network.alreadyOn', { network: 'from' });
    await fails(network.connect(id, 'config', { aliases: [] }), 'forbidden', 'network.onlyConfiguration', {});
    await fails(network.remove('from'), 'forbidden', 'network.inUse', { network: 'from' });
    await network.disconnect(id, 'from');
    expect(on()).toEqual(['made']);
    await exec.kill(id, 9);
    await exec.wait(id, 'not-running');
    for (const name of ['made', 'from', 'config']) await network.remove(name);
    await fails(() => network.resolve('made'), 'notFound', 'network.notFound', { network: 'made' });
    await exec.remove(id, { force: true });
    quiet();
    expect(told).toEqual([
      ...['made made', 'made config', 'made from', 'connected from', 'disconnected from'],
      ...['gone made', 'gone from', 'gone config'],
    ]);
  });

  it('archives unpacked into a container', async () => {
    const { exec, files } = portLayer;
    const id = await create('packed', sh('true'), { networks: [] });
    const how = { keepKind: false, asUser: false };
    const place = { container: id, path: '/nosuch' };
    await fails(files.extract(id, '/nosuch', emptyTar(), how), 'notFound', 'files.notFound', place);
    await files.extract(id, '/etc', emptyTar(), how);
    const { stat, tar } = await files.archive(id, '/etc');
    expect(stat.name).toBe('etc');
    expect((await bytes(tar)) % 512).toBe(0);
    await exec.remove(id, { force: false });
  });
}

/** Expects an error of that kind and code whose subject has at least these fields. */
async function fails<C extends ErrorCode>(
  call: Promise<unknown> | (() => unknown),
  kind: ErrorKind,
  code: C,
  subject: Partial<ErrorSubject<C>>,
): Promise<void> {
  const result = typeof call === 'function' ? (async () => call())() : call;
  await expect(result).rejects.toMatchObject({ kind, code, subject });
}

const emptyTar = (): Readable => Readable.from([Buffer.alloc(1024)], { objectMode: false });

async function text(output: Readable): Promise<string> {
  let all = '';
  for await (const chunk of output) for (const { data } of [chunk].flat() as OutputChunk[]) all += data.toString();
  return all;
}

async function bytes(output: Readable): Promise<number> {
  let sum = 0;
  for await (const part of output) sum += (part as Buffer).length;
  return sum;
}

/** Reads standard output as it comes. @returns a function that waits until it has the given total length */
function reading({ output }: AttachedStreams): (wanted: string) => Promise<void> {
  let all = '';
  output.on('data', ({ stream, data }: OutputChunk) => {
    if (stream === 'stdout') all += data.toString();
  });
  return (wanted) => expect.poll(() => all).toBe(wanted);
}
