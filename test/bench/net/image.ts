/** What the cases of networks run: a small HTTP server with its client, and iperf3, in an image and on this machine. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type BuiltImage, buildImage } from '../../support/registry/image-builder.js';
import { TarBuilder } from '../../support/registry/tar-builder.js';

const run = promisify(execFile);
/** Not installed, which would start a service. */
const PACKAGES = ['iperf3', 'libiperf0', 'libsctp1'];
const SOURCE = fileURLToPath(
  new URL(
    import.meta.url.includes('/dist/') ? '../../../../test/bench/net/small-http.c' : 'small-http.c',
    import.meta.url,
  ),
);

/** Where it is in the image. */
export const SMALL_HTTP = '/small-http';
export const IPERF = ['/iperf/ld.so', '--library-path', '/iperf', '/iperf/iperf3'];

/** The programs, made once and removed when the process ends. */
export interface NetPrograms {
  image: BuiltImage;
  /** Commands that run them on this machine. */
  smallHttp: string;
  iperf: string[];
  remove(): Promise<void>;
}

let made: Promise<NetPrograms> | null = null;

/** @throws Error where there is no compiler, or no package archive */
export function netPrograms(): Promise<NetPrograms> {
  made ??= make();
  return made;
}

async function make(): Promise<NetPrograms> {
  const directory = await mkdtemp(join(tmpdir(), 'caisson-bench-net-'));
  const smallHttp = join(directory, 'small-http');
  await run('gcc', ['-static', '-O2', '-o', smallHttp, SOURCE]);
  const files = await iperfFiles(directory);
  const place = join(directory, 'iperf');
  await mkdir(place);
  const tar = new TarBuilder().file(SMALL_HTTP.slice(1), await readFile(smallHttp), { mode: 0o755 }).directory('iperf');
  for (const name of ['tmp', 'etc', 'dev', 'proc', 'sys']) tar.directory(name);
  for (const [name, path] of files) {
    const content = await readFile(path);
    tar.file(`iperf/${name}`, content, { mode: 0o755 });
    await writeFile(join(place, name), content);
    await chmod(join(place, name), 0o755);
  }
  return {
    image: buildImage({ layers: [await tar.build()], config: { Cmd: [SMALL_HTTP, 'serve', '80'] } }),
    smallHttp,
    iperf: [join(place, 'ld.so'), '--library-path', place, join(place, 'iperf3')],
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

/** iperf3 with all libraries that it needs, by name. */
async function iperfFiles(directory: string): Promise<Map<string, string>> {
  await run('apt-get', ['download', ...PACKAGES], { cwd: directory });
  const root = join(directory, 'root');
  const { stdout: names } = await run('sh', ['-c', 'ls *.deb'], { cwd: directory });
  for (const name of names.trim().split('\n')) await run('dpkg-deb', ['-x', join(directory, name), root]);
  const program = join(root, 'usr/bin/iperf3');
  const env = { ...process.env, LD_LIBRARY_PATH: join(root, 'usr/lib/x86_64-linux-gnu') };
  const { stdout } = await run('ldd', [program], { env });
  const files = new Map([['iperf3', program]]);
  for (const [, path = ''] of stdout.matchAll(/(\/\S+\.so[.\d]*)/g)) {
    const name = basename(path);
    files.set(name.startsWith('ld-linux') ? 'ld.so' : name, await realpath(path));
  }
  return files;
}
