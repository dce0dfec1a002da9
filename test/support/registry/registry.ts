/** Debian's docker-registry for a test: the reference implementation of the protocol we speak. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { request } from 'undici';
import type { BuiltImage } from './image-builder.js';

/** A running registry on loopback. Its owner must `stop()` it. */
export interface TestRegistry {
  /** `127.0.0.1:40123` */
  address: string;
  /** Where it stores its blobs, for a second registry over the same store. */
  storeDirectory: string;
  /** Stores an image under `name[:tag]`. */
  push(image: BuiltImage, name: string): Promise<void>;
  stop(): Promise<void>;
}

const START_TIMEOUT_MS = 15_000;

/** How a registry differs from an open one on this machine. */
export interface RegistryOptions {
  /** A command that starts it elsewhere, for example in a network namespace. */
  through?: string[];
  /** Only who is named may use it: lines of a file of Apache's `htpasswd`. */
  users?: string;
}

/** Starts a registry with an empty store on a free port. */
export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  const { through = [], users } = options;
  const directory = await mkdtemp(join(tmpdir(), 'caisson-registry-'));
  const config = join(directory, 'config.yml');
  if (users !== undefined) await writeFile(join(directory, 'users'), users);
  await writeFile(
    config,
    [
      'version: 0.1',
      'log: {level: info}',
      `storage: {filesystem: {rootdirectory: ${directory}/store}, delete: {enabled: true}}`,
      'http: {addr: "127.0.0.1:0"}',
      ...(users === undefined ? [] : [`auth: {htpasswd: {realm: tests, path: ${directory}/users}}`]),
    ].join('\n'),
  );
  const [program = '', ...args] = [...through, 'docker-registry', 'serve', config];
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const exited = once(child, 'exit');
  const stop = async () => {
    child.kill('SIGKILL');
    await exited;
    await rm(directory, { recursive: true, force: true });
  };
  try {
    const address = await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('docker-registry did not start')), START_TIMEOUT_MS);
      // Keep reading after the start, or the registry would block on a full pipe.
      createInterface({ input: child.stderr }).on('line', (line) => {
        const match = /listening on (127\.0\.0\.1:\d+)/.exec(line);
        if (!match) return;
        clearTimeout(timer);
        resolve(match[1]!);
      });
      child.once('error', reject);
      child.once('exit', () => reject(new Error('docker-registry ended at once')));
    });
    return {
      address,
      storeDirectory: `${directory}/store`,
      push: (image, name) => pushImage(`http://${address}`, image, name),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function call(url: string, method: 'HEAD' | 'POST' | 'PUT', expected: number[], body?: Buffer, type?: string) {
  const response = await request(url, { method, body: body ?? null, headers: type ? { 'content-type': type } : {} });
  const text = await response.body.text();
  if (!expected.includes(response.statusCode)) throw new Error(`${method} ${url}: ${response.statusCode} ${text}`);
  return response;
}

/** Pushes over the registry API (distribution-spec "Push"). */
async function pushImage(base: string, image: BuiltImage, name: string): Promise<void> {
  const [repository, tag = 'latest'] = name.split(':') as [string, string?];
  const root = `${base}/v2/${repository}`;
  for (const [digest, data] of image.blobs) {
    const { statusCode } = await call(`${root}/blobs/${digest}`, 'HEAD', [200, 404]);
    if (statusCode === 200) continue;
    const upload = await call(`${root}/blobs/uploads/`, 'POST', [202]);
    const location = new URL(String(upload.headers.location), base);
    location.searchParams.set('digest', digest);
    await call(location.href, 'PUT', [201], data, 'application/octet-stream');
  }
  for (const manifest of image.manifests) {
    await call(`${root}/manifests/${manifest.digest}`, 'PUT', [201], manifest.body, manifest.mediaType);
  }
  await call(`${root}/manifests/${tag}`, 'PUT', [201], image.top.body, image.top.mediaType);
}
