/** The life cycle of a container through dockerode, as programs use it. */
import { once } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startMirroredStack } from '../support/mirrored-stack.js';
import type { Stack } from '../support/stack.js';

let stack: Stack;
let docker: Docker;

interface Progress {
  status?: string;
  id?: string;
  error?: string;
}

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  docker = new Docker({ host: '127.0.0.1', port: stack.port });
});

afterAll(() => stack?.stop());

/** All of a stream's text. */
async function text(stream: NodeJS.ReadableStream): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(Buffer.from(part as Buffer));
  return Buffer.concat(parts).toString();
}

/** Standard output and error of a multiplexed stream. */
async function both(stream: NodeJS.ReadableStream): Promise<[string, string]> {
  const out = new PassThrough();
  const err = new PassThrough();
  docker.modem.demuxStream(stream, out, err);
  const texts = Promise.all([text(out), text(err)]);
  await new Promise<void>((resolve) => stream.once('end', resolve).once('close', resolve));
  out.end();
  err.end();
  return texts;
}

describe('the engine', () => {
  it('describes itself', async () => {
    expect((await docker.ping()).toString()).toBe('OK');
    const version = await docker.version();
    expect(version).toMatchObject({ Os: 'linux', Arch: 'amd64', MinAPIVersion: '1.24' });
    expect(version.KernelVersion).not.toBe('');
    const info = (await docker.info()) as Record<string, unknown>;
    expect(info).toMatchObject({ OSType: 'linux', Containers: 0 });
    expect(info.MemTotal).toBeGreaterThan(2 ** 30);
  });

  it('pulls with progress messages', async () => {
    const stream = await docker.pull('busybox:latest');
    const messages = await new Promise<Progress[]>((resolve, reject) => {
      docker.modem.followProgress(stream, (error, all) => (error ? reject(error) : resolve(all as Progress[])));
    });
    const statuses = messages.map(({ status }) => status);
    expect(statuses).toContain('Pull complete');
    expect(statuses.at(-1)).toBe('Status: Downloaded newer image for busybox:latest');
    const [image] = await docker.listImages();
    expect(image?.RepoTags).toEqual(['busybox:latest']);
    expect((await docker.getImage('busybox').inspect()).Id).toBe(image?.Id);
  });
});

describe('a container', () => {
  it('is attached before it starts, and misses nothing', async () => {
    const container = await docker.createContainer({
      Image: 'busybox',
      Cmd: ['sh', '-c', 'cat; echo done >&2; exit 3'],
      OpenStdin: true,
      StdinOnce: true,
      AttachStdin: true,
    });
    const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
    const output = both(stream);
    const waiting = container.wait({ condition: 'next-exit' }) as Promise<{ StatusCode: number }>;
    await container.start();
    stream.write('line 1\n');
    stream.end('line 2\n');
    expect(await output).toEqual(['line 1\nline 2\n', 'done\n']);
    expect((await waiting).StatusCode).toBe(3);
    const logs = await container.logs({ stdout: true, stderr: true });
    expect(logs.toString()).toContain('line 2\n');
    expect((await container.inspect()).State).toMatchObject({ Status: 'exited', ExitCode: 3, Running: false });
    await container.remove();
  });

  it('may have a large environment and many labels, all of which are also in the URL of the request', async () => {
    const Env = [`A=${'a'.repeat(20_000)}`];
    const Labels = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`label-${i}`, 'x'.repeat(100)]));
    const container = await docker.createContainer({ name: 'much', Image: 'busybox', Cmd: ['true'], Env, Labels });
    const { Config } = await container.inspect();
    expect(Config.Env).toContain(Env[0]);
    expect(Config.Labels).toEqual(Labels);
    await container.remove();
  });

  it('is started, inspected, renamed, restarted, stopped, killed and removed', async () => {
    const container = await docker.createContainer({
      name: 'life',
      Image: 'busybox',
      Cmd: ['sh', '-c', 'trap "exit 5" TERM; echo up; while :; do sleep 0.1; done'],
      Labels: { role: 'test' },
      Env: ['A=b'],
    });
    await container.start();
    await expect(container.start()).rejects.toMatchObject({ statusCode: 304 });
    const up = async (): Promise<string> => (await container.logs({ stdout: true })).toString();
    await expect.poll(up).toContain('up\n');
    const [row] = await docker.listContainers({ filters: { label: ['role=test'] } });
    expect(row).toMatchObject({ Id: container.id, Names: ['/life'], State: 'running', Image: 'busybox' });
    await container.rename({ name: 'other' });
    expect((await container.inspect()).Name).toBe('/other');
    await container.restart({ t: 5 });
    await expect.poll(async () => (await up()).split('up\n').length).toBe(3);
    await container.stop();
    expect((await container.inspect()).State.ExitCode).toBe(5);
    await expect(container.stop()).rejects.toMatchObject({ statusCode: 304 });
    await expect(container.kill()).rejects.toMatchObject({ statusCode: 409 });
    await container.start();
    await expect(container.remove()).rejects.toMatchObject({ statusCode: 409 });
    await container.kill();
    await expect.poll(async () => (await container.inspect()).State.ExitCode).toBe(137);
    await container.remove();
    await expect(container.inspect()).rejects.toMatchObject({ statusCode: 404 });
  });

  it('is measured, paused and updated with other limits', async () => {
    const container = await docker.createContainer({
      Image: 'busybox',
      Cmd: ['sleep', '1000'],
      HostConfig: { Memory: 128 * 2 ** 20 },
    });
    await container.start();
    expect(await container.top({ ps_args: 'o pid,args' })).toMatchObject({ Titles: ['PID', 'COMMAND'] });
    const stats = await container.stats({ stream: false });
    expect(stats.memory_stats.limit).toBe(128 * 2 ** 20);
    expect(stats.pids_stats?.current).toBe(1);
    await container.pause();
    expect((await container.inspect()).State).toMatchObject({ Paused: true, Status: 'paused' });
    await expect(container.pause()).rejects.toMatchObject({ statusCode: 409 });
    await container.unpause();
    expect(await container.update({ Memory: 64 * 2 ** 20, MemorySwap: -1 })).toEqual({ Warnings: null });
    expect((await container.stats({ stream: false, 'one-shot': true })).memory_stats.limit).toBe(64 * 2 ** 20);
    const stream = await container.stats({ stream: true });
    const [first] = (await once(stream, 'data')) as [Buffer];
    expect(JSON.parse(first.toString())).toMatchObject({ id: container.id });
    (stream as unknown as Readable).destroy();
    await container.remove({ force: true });
  });

  it('runs further processes', async () => {
    const container = await docker.createContainer({ Image: 'busybox', Cmd: ['sleep', '1000'], Env: ['A=b'] });
    await container.start();
    const exec = await container.exec({
      Cmd: ['sh', '-c', 'echo $A $C; echo oops >&2; exit 9'],
      Env: ['C=d'],
      AttachStdout: true,
      AttachStderr: true,
    });
    expect(await both(await exec.start({}))).toEqual(['b d\n', 'oops\n']);
    expect(await exec.inspect()).toMatchObject({ ExitCode: 9, Running: false, ContainerID: container.id });
    const missing = await container.exec({ Cmd: ['nosuch'], AttachStdout: true });
    // The stream was opened earlier, so it reports this.
    expect((await both(await missing.start({}))).join('')).toContain(
      'exec: "nosuch": executable file not found in $PATH',
    );
    expect((await missing.inspect()).ExitCode).toBe(127);
    await container.remove({ force: true });
  });

  it('appears in events', async () => {
    const stream = await docker.getEvents({ filters: { type: ['container'] } });
    const seen: string[] = [];
    stream.on('data', (line: Buffer) => {
      for (const one of line.toString().trim().split('\n')) seen.push((JSON.parse(one) as { Action: string }).Action);
    });
    try {
      const [outcome, container] = await docker.run('busybox', ['true'], new PassThrough().resume());
      expect(outcome).toMatchObject({ StatusCode: 0 });
      await container.remove();
      await expect.poll(() => seen).toEqual(['create', 'attach', 'start', 'die', 'destroy']);
    } finally {
      (stream as NodeJS.ReadableStream & { destroy(): void }).destroy();
    }
  });
});

it('volumes are created, listed, mounted, pruned and removed', async () => {
  const made = await docker.createVolume({ Name: 'kept', Labels: { k: 'v' } });
  expect(await docker.getVolume('kept').inspect()).toMatchObject({ Name: 'kept', Labels: { k: 'v' }, Driver: 'local' });
  const HostConfig = { Mounts: [{ Type: 'volume' as const, Source: 'kept', Target: '/d' }] };
  const write = ['sh', '-c', 'echo hi > /d/f'];
  const [, one] = await docker.run('busybox', write, new PassThrough().resume(), { HostConfig });
  await expect(docker.getVolume('kept').remove()).rejects.toMatchObject({ statusCode: 409 });
  const output = new PassThrough();
  const [, two] = await docker.run('busybox', ['cat', '/d/f'], output, { HostConfig: { VolumesFrom: [one.id] } });
  expect(String(output.read())).toContain('hi');
  await Promise.all([one.remove({ v: true }), two.remove({ v: true })]);
  const anonymous = await docker.createVolume({});
  expect((await docker.listVolumes({ filters: { dangling: ['true'] } })).Volumes).toHaveLength(2);
  expect(await docker.pruneVolumes()).toMatchObject({ VolumesDeleted: [anonymous.name] });
  await docker.getVolume(made.name).remove();
  await expect(docker.getVolume('kept').inspect()).rejects.toMatchObject({ statusCode: 404 });
});

it('errors have Docker’s statuses', async () => {
  await expect(docker.createContainer({ Image: 'nosuch' })).rejects.toMatchObject({ statusCode: 404 });
  await expect(docker.getContainer('nosuch').start()).rejects.toMatchObject({ statusCode: 404 });
  await expect(docker.createContainer({ name: '!', Image: 'busybox' })).rejects.toMatchObject({ statusCode: 400 });
  const one = await docker.createContainer({ name: 'taken', Image: 'busybox' });
  await expect(docker.createContainer({ name: 'taken', Image: 'busybox' })).rejects.toMatchObject({ statusCode: 409 });
  await expect(docker.getImage('busybox').remove()).rejects.toMatchObject({ statusCode: 409 });
  await one.remove();
  await expect(docker.getImage('nosuch').inspect()).rejects.toMatchObject({ statusCode: 404 });
});

// What dockerode's own tests of images and volumes do.
describe('an image', () => {
  it('is tagged, listed, looked at and removed', async () => {
    const image = docker.getImage('busybox:latest');
    await image.tag({ repo: 'node/tagged', tag: 'one' });
    const listed = await docker.listImages({ filters: JSON.stringify({ reference: ['node/tagged'] }) });
    expect(listed.map(({ RepoTags }) => RepoTags)).toEqual([['node/tagged:one']]);
    expect((await image.history()).length).toBeGreaterThan(0);
    expect(await docker.getImage('node/tagged:one').remove()).toEqual([{ Untagged: 'node/tagged:one' }]);
    await expect(docker.getImage('node/tagged:one').inspect()).rejects.toMatchObject({ statusCode: 404 });
  });

  it('is committed, saved, removed with what it was committed from, and loaded again', async () => {
    const container = await docker.createContainer({ Image: 'busybox', Cmd: ['true'] });
    const first = (await container.commit({ repo: 'node/first' })) as { Id: string };
    await container.remove();
    const child = await docker.createContainer({ Image: 'node/first', Cmd: ['true'] });
    await child.commit({ repo: 'node/second' });
    await child.remove();
    // Its types do not know it.
    const images = docker as unknown as { getImages(query: { names: string[] }): Promise<Readable> };
    const saved = await images.getImages({ names: ['node/first', 'node/second'] });
    const archive: Buffer[] = [];
    for await (const part of saved) archive.push(Buffer.from(part as Buffer));
    expect(await docker.getImage('node/first').remove()).toEqual([{ Untagged: 'node/first:latest' }]);
    const removed = (await docker.getImage('node/second').remove()) as { Deleted?: string }[];
    expect(removed.filter(({ Deleted }) => Deleted !== undefined).map(({ Deleted }) => Deleted)).toContain(first.Id);
    const loaded: unknown = await docker.loadImage(Readable.from([Buffer.concat(archive)], { objectMode: false }));
    const said = await text(loaded as Readable);
    expect(said).toContain('Loaded image: node/second:latest');
    // It is known again what it was committed from.
    const [row] = await docker.listImages({ filters: JSON.stringify({ reference: ['node/second'] }) });
    expect(row?.ParentId).toBe(first.Id);
    for (const name of ['node/second', 'node/first']) await docker.getImage(name).remove();
    expect((await docker.pruneImages({ filters: JSON.stringify({ label: ['nosuch'] }) })).ImagesDeleted).toBeNull();
  });
});

describe('a volume', () => {
  it('is made, listed, looked at, counted and removed', async () => {
    const made = await docker.createVolume({ Name: 'node-volume', Labels: { a: 'b' } });
    expect(made.name).toBe('node-volume');
    const volume = docker.getVolume('node-volume');
    expect(await volume.inspect()).toMatchObject({ Driver: 'local', Labels: { a: 'b' }, Scope: 'local' });
    const listed = await docker.listVolumes({ filters: JSON.stringify({ label: ['a=b'] }) });
    expect(listed.Volumes.map(({ Name }) => Name)).toEqual(['node-volume']);
    const usage = (await docker.df()) as { VolumeUsage?: { TotalCount?: number }; Volumes?: object[] };
    expect(usage.VolumeUsage?.TotalCount ?? usage.Volumes?.length).toBeGreaterThan(0);
    await volume.remove();
    await expect(volume.inspect()).rejects.toMatchObject({
      statusCode: 404,
      message: expect.stringContaining('no such'),
    });
    expect((await docker.pruneVolumes({ filters: JSON.stringify({ label: ['a=b'] }) })).VolumesDeleted).toEqual([]);
  });
});
