/** Images from a registry to containers: pulled, listed, inspected, removed, run. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type OutsideAddress, outsideAddress } from '../support/outside-address.js';
import { type FaultyOptions, type FaultyRegistry, startFaultyRegistry } from '../support/registry/faulty-registry.js';
import { buildImage } from '../support/registry/image-builder.js';
import { testImage } from '../support/registry/images.js';
import { startRegistry, type TestRegistry } from '../support/registry/registry.js';
import { TarBuilder } from '../support/registry/tar-builder.js';
import { type Stack, startStack } from '../support/stack.js';

const IMAGES = ['busybox', 'hello', 'multi', 'nasty', 'no-passwd', 'no-shell', 'no-tmp', 'debian'] as const;
let registry: TestRegistry;
let faulty: FaultyRegistry;
/** One registry at a public address, and one at a private address. */
let publicAddress: OutsideAddress;
let outside: FaultyRegistry;
let inside: FaultyRegistry;
/** Where both redirect requests for blobs of their image `sent`. */
let leadsTo: string;
let stack: Stack;
/** What the faulty registry does to blobs. */
let fault: 'corrupt' | 'stall' | undefined;

beforeAll(async () => {
  registry = await startRegistry();
  for (const name of IMAGES) await registry.push(await testImage(name), `${name}:latest`);
  const layer = (text: string): Promise<Buffer> => new TarBuilder().file('a', text).build();
  const image = buildImage({ layers: [await layer('one'), await layer('two'.repeat(100_000))] });
  faulty = await startFaultyRegistry({
    images: { 'bad:latest': image },
    fault: ({ path }) => {
      if (!path.includes('/blobs/') || fault === undefined) return undefined;
      return fault === 'corrupt' ? { kind: 'corrupt' } : { kind: 'stall', after: 10 };
    },
  });
  publicAddress = outsideAddress();
  const images = { 'sent:latest': image, 'there:latest': image };
  const sends: FaultyOptions['fault'] = ({ path }) =>
    path.startsWith('/v2/sent/blobs/') ? { kind: 'redirect', location: path.replace(/.*\//, leadsTo) } : undefined;
  outside = await startFaultyRegistry({ images, fault: sends, host: publicAddress.address });
  inside = await startFaultyRegistry({ images, fault: sends });
  stack = await startStack({ createOptions: ['--insecure-registry', outside.address] });
});

afterAll(async () => {
  await stack?.stop();
  for (const one of [faulty, outside, inside]) await one?.stop();
  publicAddress?.remove();
  await registry?.stop();
});

const pull = (name: string) => stack.docker('pull', `${registry.address}/${name}`);
const run = (name: string, ...command: string[]) =>
  stack.docker('run', '--rm', `${registry.address}/${name}`, ...command);
/** Names in the datastore's image directory: one for each layer. */
function layers(): string[] {
  const vch = join(stack.paths.datastoreDir, 'VIC');
  return readdirSync(vch).flatMap((id) => readdirSync(join(vch, id, 'images')));
}

describe('docker pull', () => {
  it('reports what it does, and what it already has', async () => {
    const first = await pull('multi');
    expect(first.stdout).toMatch(/^Using default tag: latest\nlatest: Pulling from multi\n/);
    expect(first.stdout).toMatch(/[0-9a-f]{12}: Pull complete\n/);
    expect(first.stdout).toMatch(/Digest: sha256:[0-9a-f]{64}\nStatus: Downloaded newer image for /);
    expect(first.stdout.trim().endsWith(`${registry.address}/multi:latest`)).toBe(true);
    const again = await pull('multi');
    expect(again.stdout).toContain(`Status: Image is up to date for ${registry.address}/multi:latest`);
  });

  it('stores layers that images share once', async () => {
    await pull('busybox');
    const before = layers().length;
    const digest = (
      await stack.docker('image', 'inspect', '-f', '{{index .RepoDigests 0}}', `${registry.address}/busybox`)
    ).stdout.trim();
    expect(digest).toMatch(/busybox@sha256:[0-9a-f]{64}$/);
    await stack.docker('rmi', `${registry.address}/busybox`);
    expect((await stack.docker('pull', digest)).code).toBe(0);
    expect(layers()).toHaveLength(before);
    await stack.docker('rmi', digest);
  });

  it('refuses content that does not match its digest, and leaves nothing of it', async () => {
    const before = layers();
    fault = 'corrupt';
    const outcome = await stack.docker('pull', `${faulty.address}/bad`);
    expect(outcome.stderr).toMatch(/verification failed for digest sha256:|digest/);
    expect(outcome.code).toBe(1);
    expect(layers()).toEqual(before);
    fault = undefined;
    expect((await stack.docker('pull', `${faulty.address}/bad`)).code).toBe(0);
    await stack.docker('rmi', `${faulty.address}/bad`);
    expect(layers()).toEqual(before);
  });

  it('that is interrupted leaves nothing behind, and can be repeated', async () => {
    const before = layers();
    fault = 'stall';
    const asked = faulty.requests.length;
    const client = spawn('docker', ['pull', `${faulty.address}/bad`], {
      env: { ...process.env, DOCKER_HOST: stack.dockerHost },
      stdio: 'ignore',
    });
    await expect.poll(() => faulty.requests.slice(asked).some(({ path }) => path.includes('/blobs/'))).toBe(true);
    client.kill('SIGINT');
    const downloads = join(stack.paths.runDir, 'vch', 'test', 'downloads');
    await expect.poll(() => (existsSync(downloads) ? readdirSync(downloads) : [])).toEqual([]);
    expect(layers()).toEqual(before);
    fault = undefined;
    expect((await stack.docker('pull', `${faulty.address}/bad`)).code).toBe(0);
    await stack.docker('rmi', `${faulty.address}/bad`);
  });
});

describe('images', () => {
  it('are listed, inspected and removed', async () => {
    await pull('hello');
    const name = `${registry.address}/hello`;
    expect((await stack.docker('images', '--format', '{{.Repository}}:{{.Tag}} {{.Size}}')).stdout).toMatch(
      new RegExp(`^${name}:latest [\\d.]+[kM]B$`, 'm'),
    );
    const id = (await stack.docker('images', '-q', '--no-trunc', name)).stdout.trim();
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
    const [image] = JSON.parse((await stack.docker('image', 'inspect', name)).stdout) as Record<string, unknown>[];
    expect(image).toMatchObject({ Id: id, Os: 'linux', Architecture: 'amd64', RepoTags: [`${name}:latest`] });
    await stack.docker('create', '--name', 'user', name);
    expect((await stack.docker('rmi', name)).stderr).toMatch(
      /conflict: unable to remove repository reference .* container [0-9a-f]{12} is using its referenced image/,
    );
    await stack.docker('rm', 'user');
    expect((await stack.docker('rmi', name)).stdout).toMatch(
      new RegExp(`^Untagged: ${name}:latest\\n(Untagged: .*\\n)?Deleted: ${id}\\n`),
    );
    expect((await stack.docker('image', 'inspect', name)).stderr).toContain('No such image');
  });
});

describe('any image runs', () => {
  it.each([
    ['hello', [], /hello/i],
    ['no-passwd', ['sh', '-c', 'id -u; ls /etc/passwd 2>&1; true'], /^0\n.*No such file/],
    ['no-tmp', ['sh', '-c', 'ls -d /tmp 2>&1; true'], /No such file/],
    ['no-shell', [], /./],
    ['debian', ['sh', '-c', '. /etc/os-release; echo $ID'], /^debian\n$/],
    ['nasty', ['true'], /^$/],
  ])('%s', async (name, command, printed) => {
    const outcome = await run(name as string, ...(command as string[]));
    expect(outcome.stdout).toMatch(printed as RegExp);
    expect(outcome.code).toBe(0);
  });
});

describe('archives', () => {
  const names = ['nasty', 'multi', 'hello'].map((name) => (): string => `${registry.address}/${name}:latest`);
  const digestOf = (path: string): string => execFileSync('sha256sum', [path]).toString().slice(0, 64);

  it('images leave as they came, other tools read them, and they run when they are back', async () => {
    const wanted = names.map((name) => name());
    for (const name of wanted) expect(await stack.docker('pull', name)).toMatchObject({ code: 0 });
    const ids = await Promise.all(wanted.map(async (name) => (await stack.docker('images', '-q', name)).stdout));
    const directory = mkdtempSync(join(tmpdir(), 'caisson-save-'));
    try {
      const archive = join(directory, 'images.tar');
      expect(await stack.docker('save', '-o', archive, ...wanted)).toMatchObject({ code: 0, stderr: '' });
      execFileSync('tar', ['-xf', archive, '-C', directory]);
      const blobs = join(directory, 'blobs', 'sha256');
      for (const name of readdirSync(blobs)) expect(digestOf(join(blobs, name))).toBe(name);
      for (const name of wanted)
        execFileSync('skopeo', ['inspect', `docker-archive:${archive}:${name}`], { encoding: 'utf8' });
      const oci = join(directory, 'oci.tar');
      execFileSync('skopeo', [
        'copy',
        '-q',
        `docker-archive:${archive}:${wanted[1]!}`,
        `oci-archive:${oci}:other/name:2`,
      ]);

      expect(await stack.docker('rmi', '-f', ...wanted)).toMatchObject({ code: 0 });
      const packed = execFileSync('zstd', ['-q', '-c', archive], { maxBuffer: 2 ** 28 });
      const loaded = await stack.dockerWith({ input: packed }, 'load');
      expect(loaded.stdout).toBe(wanted.map((name) => `Loaded image: ${name}\n`).join(''));
      expect(await Promise.all(wanted.map(async (name) => (await stack.docker('images', '-q', name)).stdout))).toEqual(
        ids,
      );
      expect((await run('nasty', 'echo', 'back')).stdout).toBe('back\n');
      expect((await stack.docker('load', '-i', oci)).stdout).toBe('Loaded image: other/name:2\n');
      // The other tool writes a configuration of its own, for the same layers.
      const layersOf = (name: string) => stack.docker('inspect', '-f', '{{.RootFS.Layers}}', name);
      expect((await layersOf('other/name:2')).stdout).toBe((await layersOf(wanted[1]!)).stdout);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('a container’s files become an image that runs', async () => {
    await stack.docker('create', '--name', 'exported', `${registry.address}/busybox`);
    const directory = mkdtempSync(join(tmpdir(), 'caisson-export-'));
    const tar = join(directory, 'root.tar');
    expect(await stack.docker('export', '-o', tar, 'exported')).toMatchObject({ code: 0 });
    const imported = await stack.docker(
      'import',
      '-c',
      'CMD ["echo", "imported"]',
      '-m',
      'by hand',
      tar,
      'made/here:1',
    );
    expect(imported.stdout).toMatch(/^sha256:[0-9a-f]{64}\n$/);
    expect((await stack.docker('run', '--rm', 'made/here:1')).stdout).toBe('imported\n');
    expect((await stack.docker('history', '--format', '{{.Comment}}', 'made/here:1')).stdout).toBe('by hand\n');
    await stack.docker('rm', 'exported');
    rmSync(directory, { recursive: true });
  });

  it('a committed image is pushed, and pulled again by its digest', async () => {
    const name = `${registry.address}/made/committed:1`;
    await stack.docker('run', '--name', 'changed', `${registry.address}/busybox`, 'sh', '-c', 'echo changed > /file');
    expect(await stack.docker('commit', '-c', 'CMD ["cat", "/file"]', 'changed', name)).toMatchObject({ code: 0 });
    await stack.docker('rm', 'changed');
    const pushed = await stack.docker('push', name);
    const digest = /^1: digest: (sha256:[0-9a-f]{64}) size: \d+$/m.exec(pushed.stdout)?.[1];
    expect(pushed.stdout).toContain('Pushed');
    expect(pushed.stdout).toContain('Mounted from busybox');
    await stack.docker('rmi', '-f', name);
    expect((await stack.docker('run', '--rm', name.replace(/:1$/, `@${digest}`))).stdout).toBe('changed\n');
    const again = await stack.docker('push', `${registry.address}/made/nosuch`);
    expect(again).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('An image does not exist locally with the tag'),
    });
  });

  it('a running container is committed from its disk, which is still meanwhile', async () => {
    const steps = 'i=$((i+1)); echo $i > /t; mv /t /first; echo $i > /t; mv /t /second; usleep 50000';
    // A file that is open but has no name any more is on the disk too.
    const script = `exec 9>/gone; echo gone >&9; rm /gone /bin/false; mkdir /many; head -c 3000001 /dev/urandom > /big; while :; do ${steps}; done`;
    await stack.docker('run', '-d', '--name', 'writer', `${registry.address}/busybox`, 'sh', '-c', script);
    const inside = async (): Promise<string> => (await stack.docker('exec', 'writer', 'cat', '/second')).stdout;
    await expect.poll(inside).toMatch(/^\d+\n$/);
    const big = (await stack.docker('exec', 'writer', 'sha256sum', '/big')).stdout;
    for (const pause of ['true', 'false']) {
      const image = `made/running:${pause}`;
      expect(await stack.docker('commit', `--pause=${pause}`, 'writer', image)).toMatchObject({ code: 0 });
      const look = 'sha256sum /big; cat /first /second; ls -d /many /bin/false /gone';
      const { stdout } = await stack.docker('run', '--rm', image, 'sh', '-c', look);
      const [sum, first, second, ...names] = stdout.trimEnd().split('\n');
      expect([`${sum}\n`, names]).toEqual([big, ['/many']]);
      // Without a pause, what is written while the files are read may be in it or not.
      if (pause === 'true') expect([0, 1]).toContain(Number(first) - Number(second));
    }
    // It goes on writing.
    const after = await inside();
    await expect.poll(inside).not.toBe(after);
    await stack.docker('rm', '-f', 'writer');
  });

  it('what is no archive is refused', async () => {
    const refused = await stack.dockerWith({ input: Buffer.alloc(20_000) }, 'load');
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('the archive has no image') });
  });
});

describe('an image of 125 layers', () => {
  it('runs, and is the deepest possible', async () => {
    await registry.push(await testImage('many-layers'), 'deep:latest');
    const empty = await new TarBuilder().build();
    await registry.push(buildImage({ layers: Array.from({ length: 126 }, () => empty) }), 'deeper:latest');
    const before = layers();
    const name = `${registry.address}/deep`;
    expect(await pull('deep')).toMatchObject({ code: 0 });
    expect((await stack.docker('run', '--name', 'deep', name)).stdout).toBe('35\n');
    const over = await pull('deeper');
    expect(over.stderr).toContain('max depth exceeded');
    const committed = await stack.docker('commit', 'deep', 'deeper');
    expect(committed.stderr).toContain('max depth exceeded');
    await stack.docker('rm', 'deep');
    await stack.docker('rmi', name);
    expect(layers()).toEqual(before);
  });
});

describe('a registry that redirects requests for blobs', () => {
  afterEach(() => stack.docker('rmi', `${outside.address}/sent`, `${inside.address}/sent`));

  const blobsOf = (one: FaultyRegistry): string => `http://${one.address}/v2/there/blobs/`;
  const pullFrom = async (one: FaultyRegistry, location: string): Promise<string> => {
    leadsTo = location;
    const { code, stderr } = await stack.docker('pull', `${one.address}/sent`);
    return code === 0 ? 'pulled' : stderr;
  };

  it('from a public address to a private one is refused with a message, and nothing is requested there', async () => {
    for (const name of [inside.address, inside.address.replace('127.0.0.1', 'localhost')])
      expect(await pullFrom(outside, `http://${name}/v2/there/blobs/`)).toMatch(
        /a public registry leads to the private address (127\.0\.0\.1|::1) \(allowed where --insecure-registry names/,
      );
    expect(inside.requests).toEqual([]);
  });

  it('to itself, or from a private address to any, such as a CDN, is followed', async () => {
    expect(await pullFrom(outside, '/v2/there/blobs/')).toBe('pulled');
    expect(await pullFrom(outside, blobsOf(outside))).toBe('pulled');
    expect(await pullFrom(inside, blobsOf(outside))).toBe('pulled');
    await stack.docker('rmi', `${inside.address}/sent`, `${outside.address}/sent`);
    Object.assign(faulty.images, inside.images);
    expect(await pullFrom(inside, blobsOf(faulty))).toBe('pulled');
    expect(faulty.requests.some(({ path }) => path.startsWith('/v2/there/blobs/'))).toBe(true);
  });
});
