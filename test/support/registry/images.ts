/** The images that the tests run, made from files of installed Debian packages. Each is built once per process. */
import { execFile, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { testCacheDirectory } from '../go.js';
import { type BuiltImage, buildImage, buildIndex, digestOf } from './image-builder.js';
import { servicesLayers } from './services.js';
import { TarBuilder } from './tar-builder.js';

const run = promisify(execFile);

/** Names that {@link testImage} knows. */
export type TestImageName =
  | 'busybox'
  | 'hello'
  | 'web'
  | 'nasty'
  | 'odd-tree'
  | 'multi'
  | 'echo'
  | 'no-passwd'
  | 'no-shell'
  | 'no-tmp'
  | 'debian'
  | 'services'
  | 'large'
  | 'many-files'
  | 'many-layers';

const PASSWD = [
  'root:x:0:0:root:/root:/bin/sh',
  'daemon:x:1:1:daemon:/usr/sbin:/bin/false',
  'www-data:x:33:33:www:/var/www:/bin/false',
  'nobody:x:65534:65534:nobody:/home:/bin/false',
];
const GROUP = ['root:x:0:', 'daemon:x:1:', 'www-data:x:33:', 'extra:x:1500:www-data,nobody', 'nogroup:x:65534:'];
const lines = (all: string[]): string => `${all.join('\n')}\n`;

const HELLO_SOURCE = `#include <unistd.h>
int main(void) {
  static const char message[] = "Hello from a container that is a virtual machine!\\n";
  return write(1, message, sizeof message - 1) != sizeof message - 1;
}
`;

const cachedPath = (name: string): string => join(testCacheDirectory(), 'images', name);

/** The result of `make`, from the cache of earlier runs if it is there. */
async function cached(name: string, make: () => Promise<Buffer>): Promise<Buffer> {
  const path = cachedPath(name);
  if (existsSync(path)) return readFile(path);
  const data = await make();
  await mkdir(dirname(path), { recursive: true });
  // Written aside and renamed: another test run may be making the same.
  const aside = `${path}.${randomBytes(4).toString('hex')}`;
  await writeFile(aside, data);
  await rename(aside, path);
  return data;
}

/** Sends every datagram that comes to a port back to where it came from: busybox cannot. */
const ECHO_SOURCE = `#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
int main(int argc, char **argv) {
  struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_port = htons(argc > 1 ? atoi(argv[1]) : 7) }, from;
  struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = at.sin6_port };
  int s = socket(AF_INET6, SOCK_DGRAM, 0);
  if (s < 0 || bind(s, (void *)&at, sizeof at) != 0) {
    s = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(s, (void *)&four, sizeof four) != 0) return 1;
  }
  for (;;) {
    char data[65536];
    socklen_t length = sizeof from;
    ssize_t n = recvfrom(s, data, sizeof data, 0, (void *)&from, &length);
    if (n >= 0) sendto(s, data, n, 0, (void *)&from, length);
  }
}
`;

/** A static program, compiled. */
function compiledProgram(name: string, source: string): Promise<Buffer> {
  const key = digestOf(Buffer.from(source)).slice(7, 19);
  return cached(`${name}-${key}`, async () => {
    const output = join(testCacheDirectory(), `${name}-${randomBytes(4).toString('hex')}`);
    await mkdir(testCacheDirectory(), { recursive: true });
    execFileSync('gcc', ['-static', '-Os', '-x', 'c', '-', '-o', output], { input: source });
    try {
      return await readFile(output);
    } finally {
      await rm(output, { force: true });
    }
  });
}

/** Links and other things at places where an engine or a user mounts something. */
function oddTree(): Promise<Buffer> {
  return new TarBuilder()
    .symlink('etc/resolv.conf', '../run/systemd/resolve/stub-resolv.conf')
    .file('etc/other', 'shared')
    .link('etc/hosts', 'etc/other')
    .fifo('etc/hostname')
    .symlink('proc', '/tmp/p')
    .symlink('sys', '/nowhere/sys')
    .symlink('dev', '../../run/dev')
    .symlink('var/run', '/run')
    .symlink('data', '/nowhere/data')
    .symlink('out', '../../../../nw/side')
    .symlink('self', '/proc/self/fd')
    .symlink('loop', '/loop')
    .file('plain', 'x')
    .fifo('etc/passwd')
    .file('etc/group', 'odd\n  blank:x:77:u  \n#c:x:78:\nbad:x:y:\n')
    .build();
}

/** A small system whose every command is busybox. */
async function busyboxLayer(omit: { accounts?: boolean; tmp?: boolean } = {}): Promise<Buffer> {
  const program = await readFile('/bin/busybox');
  const { stdout } = await run('/bin/busybox', ['--list']);
  const tar = new TarBuilder();
  for (const name of [
    'bin',
    'sbin',
    'etc',
    'usr',
    'usr/bin',
    'usr/sbin',
    'dev',
    'proc',
    'sys',
    'var',
    'var/www',
    'home',
  ]) {
    tar.directory(name);
  }
  if (!omit.tmp) tar.directory('tmp', { mode: 0o1777 });
  tar.directory('root', { mode: 0o700 }).file('bin/busybox', program, { mode: 0o755 });
  for (const applet of stdout.split('\n').filter((name) => name !== '' && name !== 'busybox')) {
    tar.link(`bin/${applet}`, 'bin/busybox', 0o755);
  }
  if (!omit.accounts) {
    tar.file('etc/passwd', lines(PASSWD)).file('etc/group', lines(GROUP));
    tar.file('etc/shadow', 'root:*:19000:0:99999:7:::\n', { mode: 0o640 });
  }
  return tar.build();
}

/** Layer operations that are easy to get wrong. */
async function nastyLayers(): Promise<Buffer[]> {
  // struct vfs_cap_data, revision 2: cap_net_bind_service+ep.
  const capability = Buffer.alloc(20);
  capability.writeUInt32LE(0x02000001, 0);
  capability.writeUInt32LE(1 << 10, 4);
  const low = new TarBuilder()
    .directory('n')
    .directory('n/gone')
    .file('n/gone/x', 'x')
    .file('n/removed', '1')
    .directory('n/opaque')
    .file('n/opaque/low', 'low')
    .file('n/file-then-dir', 'f')
    .directory('n/dir-then-file')
    .file('n/dir-then-file/in', 'i')
    .file('n/chmod-only', 'same', { mode: 0o600 })
    .file('n/target', 'T'.repeat(5000))
    .file('n/sparse', Buffer.alloc(64 << 20))
    .file('n/tail', 'end')
    .directory('n/many');
  for (let i = 0; i < 50; i++) low.directory(`n/many/${i}`);
  for (let i = 0; i < 3000; i++) low.file(`n/many/${i % 50}/f${i}`, String(i));
  const whiteouts = new TarBuilder()
    .file('n/.wh.removed')
    .file('n/.wh.gone')
    .directory('n/opaque')
    .file('n/opaque/.wh..wh..opq')
    .file('n/opaque/high', 'high');
  const replaced = new TarBuilder()
    .directory('n/file-then-dir')
    .file('n/file-then-dir/in', 'now a dir')
    .file('n/dir-then-file', 'now a file');
  const attributes = new TarBuilder()
    .file('n/target', 'T'.repeat(5000))
    .link('n/link-again', 'n/target')
    .file('n/chmod-only', 'same', { mode: 0o4755, uid: 33, gid: 33 })
    .file('n/setgid', '#!/bin/sh\n', { mode: 0o2755 })
    .file('n/cap', 'bin', {
      mode: 0o755,
      pax: { 'SCHILY.xattr.security.capability': capability.toString('latin1'), 'SCHILY.xattr.user.note': 'hello' },
    })
    .file('n/nanos', 't', { pax: { mtime: '1700000000.123456789' } });
  const special = new TarBuilder()
    .device('n/null', 'character-device', 1, 3, 0o666)
    .device('n/loopdev', 'block-device', 7, 0, 0o660)
    .fifo('n/fifo')
    .symlink('n/self', 'self')
    .symlink('n/abs', '/n/target')
    .symlink('n/up', '../../../../n/target')
    .file(`n/${'L'.repeat(255)}`, 'long')
    .file('n/ünïcødé-名前-🙂', 'utf8')
    .symlink('n/longsym', 'x'.repeat(3000));
  const deep = new TarBuilder().directory('n/deep');
  let path = 'n/deep';
  for (let i = 0; i < 60; i++) {
    path += `/d${i}`;
    deep.directory(path);
  }
  deep.file(`${path}/leaf`, 'leaf');
  return Promise.all([low, whiteouts, replaced, attributes, special, deep].map((tar) => tar.build()));
}

const DEBIAN_PROGRAMS = 'bash cat ls cp mv rm mkdir ln env id sleep true false uname date head tail wc sort sha256sum';

/** Bash and the most common commands with the C library that they need: layers as in a real distribution. */
async function debianLayers(): Promise<Buffer[]> {
  const programs = DEBIAN_PROGRAMS.split(' ').map((name) =>
    existsSync(`/usr/bin/${name}`) ? `/usr/bin/${name}` : `/bin/${name}`,
  );
  const { stdout } = await run('ldd', programs);
  const libraries = new Set(
    [...stdout.matchAll(/(\/\S*\/lib\S*\.so\.\d+|\/\S*ld-linux-\S+\.so\.\d+)/g)].map((match) => match[1]!),
  );
  const base = new TarBuilder();
  const directories = [
    'usr',
    'usr/bin',
    'usr/sbin',
    'usr/lib',
    'usr/lib64',
    'usr/lib/x86_64-linux-gnu',
    'etc',
    'root',
    'var',
    'dev',
    'proc',
    'sys',
  ];
  for (const name of directories) base.directory(name);
  base.directory('tmp', { mode: 0o1777 });
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) base.symlink(name, `usr/${name}`);
  for (const path of libraries) {
    const target = await realpath(path);
    base.file(`usr/lib/x86_64-linux-gnu/${basename(path)}`, await readFile(target), { mode: 0o755 });
    if (path.includes('ld-linux'))
      base.symlink(`usr/lib64/${basename(path)}`, `../lib/x86_64-linux-gnu/${basename(path)}`);
  }
  const commands = new TarBuilder();
  for (const path of programs) commands.file(`usr/bin/${basename(path)}`, await readFile(path), { mode: 0o755 });
  commands.symlink('usr/bin/sh', 'bash');
  const files = new TarBuilder()
    .file('etc/debian_version', '12.0\n')
    .file('etc/os-release', 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n')
    .file('etc/passwd', lines(PASSWD))
    .file('etc/group', lines(GROUP));
  return Promise.all([base, commands, files].map((tar) => tar.build()));
}

/** nginx, PostgreSQL, Redis and a small web application, each started by a command of its own (`services.ts`). */
async function servicesImage(): Promise<BuiltImage> {
  const { key, programs, files } = await servicesLayers();
  const layers = [...(await debianLayers()), await cached(`services-${key}.tar`, programs), await files()];
  return buildImage({ layers, config: { Cmd: ['bash'], Env: ['PATH=/usr/sbin:/usr/bin:/usr/lib/postgresql/bin'] } });
}

/** Bytes of each layer of the `large` image. */
const LARGE_LAYER = 33 * 1024 * 1024;

/** Content that compresses about as well as programs: words from a small vocabulary, mixed with noise. */
function pseudoProgram(length: number, seed: number): Buffer {
  const data = Buffer.alloc(length);
  let state = seed >>> 0;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
  const vocabulary = Array.from({ length: 512 }, () => Buffer.from(Array.from({ length: 8 }, () => next() >>> 24)));
  for (let at = 0; at < length; ) {
    const choice = next() >>> 16;
    if (choice % 3 === 0) data.writeUInt32LE(next(), Math.min(at, length - 4));
    else vocabulary[choice % 512]!.copy(data, at);
    at += choice % 3 === 0 ? 4 : 8;
  }
  return data;
}

async function largeImage(): Promise<BuiltImage> {
  const layers = [];
  for (let index = 0; index < 3; index++) {
    const tar = await cached(`large-2-${index}.tar`, async () => {
      const builder = new TarBuilder().directory(`data${index}`);
      let left = LARGE_LAYER;
      for (let i = 0; left > 0; i++) {
        const size = Math.min(left, [1 << 12, 1 << 14, 1 << 16, 1 << 20, 1 << 22][i % 5]!);
        builder.file(`data${index}/file${i}`, pseudoProgram(size, index * 100_000 + i));
        left -= size;
      }
      return builder.build();
    });
    const blob = await cached(`large-2-${index}.tar.gz`, () => promisify(gzip)(tar, { level: 6 }));
    layers.push({ tar, blob });
  }
  return buildImage({ layers, config: { Cmd: ['/none'] } });
}

const MANY_FILES = 'many-files.tar';

/** A tar of 100,000 small files: its bytes, and the file that has them. */
export async function manyFilesTar(): Promise<{ tar: Buffer; path: string }> {
  const tar = await cached(MANY_FILES, () => {
    const builder = new TarBuilder();
    for (let i = 0; i < 100_000; i++) {
      if (i % 500 === 0) builder.directory(`d${i / 500}`);
      builder.file(`d${Math.floor(i / 500)}/file-${i}`, `the content of file ${i}\n`.repeat(1 + (i % 20)));
    }
    return builder.build();
  });
  return { tar, path: cachedPath(MANY_FILES) };
}

/** One layer of 100,000 small files. */
async function manyFilesImage(): Promise<BuiltImage> {
  const { tar } = await manyFilesTar();
  const blob = await cached('many-files.tar.gz', () => promisify(gzip)(tar, { level: 6 }));
  return buildImage({ layers: [{ tar, blob }], config: { Cmd: ['/none'] } });
}

/** A small system under 124 layers, the maximum: every third is empty, the others overwrite each other's files. */
async function manyLayersImage(): Promise<BuiltImage> {
  const layers = [await busyboxLayer()];
  for (let i = 0; i < 124; i++) {
    const tar = new TarBuilder();
    layers.push(await (i % 3 === 0 ? tar : tar.file(`l${i % 5}/${i % 7}`, `layer ${i}\n`)).build());
  }
  return buildImage({ layers, config: { Cmd: ['sh', '-c', 'ls -d /l*/* | wc -l'], Env: ['PATH=/bin'] } });
}

const MAKERS: Record<TestImageName, () => Promise<BuiltImage>> = {
  busybox: async () => buildImage({ layers: [await busyboxLayer()], config: { Cmd: ['sh'] } }),
  'odd-tree': async () => buildImage({ layers: [await busyboxLayer(), await oddTree()], config: { Cmd: ['sh'] } }),
  hello: async () => {
    const tar = await new TarBuilder()
      .file('hello', await compiledProgram('hello', HELLO_SOURCE), { mode: 0o755 })
      .build();
    return buildImage({ layers: [tar], config: { Cmd: ['/hello'] }, format: 'docker' });
  },
  echo: async () => {
    const program = await compiledProgram('echo', ECHO_SOURCE);
    const tar = await new TarBuilder().file('bin/echo-udp', program, { mode: 0o755 }).build();
    return buildImage({ layers: [await busyboxLayer(), tar], config: { Cmd: ['sh'] } });
  },
  web: async () => {
    const pages = await new TarBuilder().directory('www').file('www/index.html', '<h1>It works</h1>\n').build();
    return buildImage({
      layers: [await busyboxLayer(), pages],
      config: {
        Cmd: ['httpd', '-f', '-v', '-p', '80', '-h', '/www'],
        ExposedPorts: { '80/tcp': {} },
        Labels: { tier: 'web' },
        StopSignal: 'SIGINT',
        WorkingDir: '/www',
      },
      format: 'docker',
    });
  },
  nasty: async () => buildImage({ layers: [await busyboxLayer(), ...(await nastyLayers())], config: { Cmd: ['sh'] } }),
  multi: async () => {
    const release = await new TarBuilder().directory('etc').file('etc/os-release', 'ID=multi\n').build();
    const layers = [await busyboxLayer(), release];
    const config = { Cmd: ['sh'], User: 'www-data', WorkingDir: '/var/www' };
    const foreign = await new TarBuilder().file('arm', 'not for this machine').build();
    return buildIndex([
      buildImage({ layers, config, compression: 'zstd' }),
      buildImage({ layers: [foreign], architecture: 'arm64', variant: 'v8', compression: 'zstd' }),
    ]);
  },
  'no-passwd': async () =>
    buildImage({ layers: [await busyboxLayer({ accounts: true })], config: { Cmd: ['sh'], Entrypoint: null } }),
  'no-shell': async () => {
    const program = await readFile('/bin/busybox');
    const tar = await new TarBuilder().directory('app').file('app/echo', program, { mode: 0o755 }).build();
    return buildImage({
      layers: [tar],
      config: { Entrypoint: ['/app/echo'], Cmd: ['no shell here'], User: '1000:1000' },
    });
  },
  'no-tmp': async () => buildImage({ layers: [await busyboxLayer({ tmp: true })], config: { Cmd: ['sh'] } }),
  debian: async () =>
    buildImage({
      layers: await debianLayers(),
      config: { Cmd: ['bash'], Labels: { 'org.opencontainers.image.version': '12' } },
    }),
  services: servicesImage,
  large: largeImage,
  'many-files': manyFilesImage,
  'many-layers': manyLayersImage,
};

const built = new Map<TestImageName, Promise<BuiltImage>>();

/** A test image by name; `large` (three layers, 100 MB), `many-files` and `many-layers` are not in `SMALL_IMAGES`. */
export function testImage(name: TestImageName): Promise<BuiltImage> {
  const known = built.get(name);
  if (known) return known;
  const making = MAKERS[name]();
  built.set(name, making);
  return making;
}

/** All but those for the benchmark. */
export const SMALL_IMAGES: TestImageName[] = (Object.keys(MAKERS) as TestImageName[]).filter(
  (name) => !['large', 'many-files', 'many-layers'].includes(name),
);
