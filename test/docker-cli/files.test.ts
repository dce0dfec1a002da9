/** Copying files of containers as a user does: `docker cp`, against real virtual machines. */
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dockerOk } from '../support/docker-ok.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { run, type Stack } from '../support/stack.js';

let stack: Stack;
let scratch: string;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  expect((await stack.docker('pull', 'busybox')).code).toBe(0);
  scratch = mkdtempSync(join(tmpdir(), 'caisson-files-'));
});

afterAll(async () => {
  await stack?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

const ok = (...args: string[]): Promise<string> => dockerOk(stack, ...args);

const exec = (container: string, script: string): Promise<string> => ok('exec', container, 'sh', '-c', script);

/** A local tree with everything that a copy must keep. */
function localTree(name: string): string {
  const root = join(scratch, name);
  mkdirSync(join(root, 'deep/er'), { recursive: true });
  writeFileSync(join(root, 'deep/er/leaf'), 'leaf\n');
  writeFileSync(join(root, 'script'), '#!/bin/sh\necho ran\n', { mode: 0o755 });
  symlinkSync('deep/er/leaf', join(root, 'link'));
  writeFileSync(join(root, 'big'), Buffer.alloc(3_000_001, 'block of text '));
  return root;
}

/** Raw requests, for details that the CLI does not show. */
async function call(
  method: string,
  path: string,
  body?: Buffer,
): Promise<{ status: number; text: string; headers: Headers }> {
  const answer = await fetch(`http://127.0.0.1:${stack.port}${path}`, { method, ...(body ? { body } : {}) });
  return { status: answer.status, text: await answer.text(), headers: answer.headers };
}

/** A ustar archive of empty entries, with names that no program writes. */
function oddTar(...entries: [name: string, kind: keyof typeof TAR_KINDS][]): Buffer {
  const blocks = entries.map(([name, kind]) => {
    const head = Buffer.alloc(512);
    head.write(name);
    head.write('0000644\0', 100);
    head.write('00000000000\0', 124);
    head.write(TAR_KINDS[kind], 156);
    if (kind.endsWith('link')) head.write('etc', 157);
    head.write('ustar\x0000', 257);
    head.fill(' ', 148, 156);
    const sum = head.reduce((all, byte) => all + byte, 0);
    head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return head;
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

const TAR_KINDS = { file: '0', link: '1', symlink: '2', fifo: '6' };

const SETUP =
  'mkdir -p /t/dir; echo content > /t/dir/f; ln -s /etc/passwd /t/abs; ln -s dir /t/dirl; ln -s /no/where /t/broken; ln -s loop /t/loop;' +
  'ln -s ../../../../../etc/passwd /t/up; echo s > /t/suid; chmod 4755 /t/suid; ln /t/suid /t/other; echo f > /t/file';

describe('docker cp with a running container', () => {
  beforeAll(async () => {
    await ok('run', '-d', '--name', 'live', 'busybox', 'sh', '-c', `${SETUP}; exec sleep 10000`);
    // What it makes last.
    await ok('exec', 'live', 'sh', '-c', 'until test -e /t/file; do sleep 0.1; done');
  });

  it('copies a tree in and out again, byte for byte', async () => {
    const tree = localTree('tree');
    await ok('cp', tree, 'live:/in');
    expect(await exec('live', 'cd /in && cat link && ./script && readlink link && wc -c < big')).toBe(
      'leaf\nran\ndeep/er/leaf\n3000001\n',
    );
    const back = join(scratch, 'back');
    await ok('cp', 'live:/in', back);
    expect(readFileSync(join(back, 'big')).equals(readFileSync(join(tree, 'big')))).toBe(true);
    expect(readlinkSync(join(back, 'link'))).toBe('deep/er/leaf');
    expect(statSync(join(back, 'script')).mode & 0o777).toBe(0o755);
    const differences = await run('diff', ['-r', tree, back]);
    expect(differences).toMatchObject({ code: 0, stdout: '' });
  });

  it('copies one file to a directory, to a new name, and over a file', async () => {
    const file = join(scratch, 'one');
    writeFileSync(file, 'one\n');
    await ok('cp', file, 'live:/tmp');
    await ok('cp', file, 'live:/tmp/two');
    writeFileSync(file, 'changed\n');
    await ok('cp', file, 'live:/tmp/two');
    expect(await exec('live', 'cat /tmp/one /tmp/two')).toBe('one\nchanged\n');
    await ok('cp', 'live:/tmp/two', join(scratch, 'three'));
    expect(readFileSync(join(scratch, 'three'), 'utf8')).toBe('changed\n');
  });

  it('treats links as Docker does: copied as links, or followed inside the root with -L', async () => {
    await ok('cp', 'live:/t/abs', join(scratch, 'as-link'));
    expect(readlinkSync(join(scratch, 'as-link'))).toBe('/etc/passwd');
    await ok('cp', '-L', 'live:/t/up', join(scratch, 'followed'));
    expect(readFileSync(join(scratch, 'followed'), 'utf8')).toBe(await exec('live', 'cat /etc/passwd'));
    writeFileSync(join(scratch, 'x'), 'x\n');
    await ok('cp', join(scratch, 'x'), 'live:/t/dirl/');
    expect(await exec('live', 'cat /t/dir/x')).toBe('x\n');
  });

  it('never leaves the root, whatever the archive and the links say', async () => {
    await exec('live', 'mkdir -p /jail && ln -s ../../../../../../.. /jail/out');
    writeFileSync(join(scratch, 'y'), 'y\n');
    await ok('cp', join(scratch, 'y'), 'live:/jail/out/escaped');
    expect(await exec('live', 'cat /escaped')).toBe('y\n');
    const climbing = join(scratch, 'climb.tar');
    mkdirSync(join(scratch, 'in'));
    writeFileSync(join(scratch, 'outside'), 'bad');
    await run('tar', ['-P', '-C', join(scratch, 'in'), '-cf', climbing, '../outside']);
    const refused = await call('PUT', '/containers/live/archive?path=/tmp', readFileSync(climbing));
    expect(refused).toMatchObject({ status: 500, text: '{"message":"invalid entry name \\"../outside\\""}\n' });
  });

  it.each([
    ['GET', 'path=/nope', 404, 'Could not find the file /nope in container live'],
    ['GET', 'path=/etc/passwd/x', 500, 'lstat /etc/passwd/x: not a directory'],
    ['PUT', 'path=/nope', 404, 'Could not find the file /nope in container live'],
    ['PUT', 'path=/t/broken', 404, 'Could not find the file /t/broken in container live'],
    ['PUT', 'path=/etc/passwd', 400, 'extraction point is not a directory'],
    ['PUT', 'path=/t/loop', 500, 'EvalSymlinks: too many links'],
    ['GET', 'path=/proc/1', 404, 'Could not find the file /proc/1 in container live'],
    ['GET', 'path=/dev/null', 404, 'Could not find the file /dev/null in container live'],
  ])('%s %s is answered as by Docker', async (method, query, status, message) => {
    const body = method === 'PUT' ? Buffer.alloc(1024) : undefined;
    const answer = await call(method, `/containers/live/archive?${query}`, body);
    expect(answer).toMatchObject({ status, text: `${JSON.stringify({ message })}\n` });
  });

  it('skips entries for the destination itself, whatever type they claim', async () => {
    await ok('run', '-d', '--name', 'whole', '-v', 'whole-v:/vp/v', 'busybox', 'sleep', '10000');
    try {
      await exec('whole', 'echo kept > /vp/v/file; echo kept > /tmp/file');
      const before = await exec('whole', 'ls / /bin /etc | wc -l');
      for (const path of ['/', '/tmp', '/vp'])
        for (const name of ['', '.', './.', 'x/..', '/'])
          expect(
            await call('PUT', `/containers/whole/archive?path=${path}`, oddTar([name, 'file'], ['in', 'file'])),
            `${name} at ${path}`,
          ).toMatchObject({ status: 200 });
      const odd = oddTar(['.', 'symlink'], ['.', 'link'], ['.', 'fifo'], ['in', 'file']);
      await call('PUT', '/containers/whole/archive?path=/vp', odd);
      expect(await exec('whole', 'cat /vp/v/file /tmp/file; ls -d /in /tmp/in /vp/in; rm /in')).toBe(
        'kept\nkept\n/in\n/tmp/in\n/vp/in\n',
      );
      expect(await exec('whole', 'ls / /bin /etc | wc -l')).toBe(before);
    } finally {
      await ok('rm', '-f', 'whole');
      await ok('volume', 'rm', 'whole-v');
    }
  });

  it('refuses to replace a directory with a file when asked not to', async () => {
    mkdirSync(join(scratch, 'kinds/file'), { recursive: true });
    writeFileSync(join(scratch, 'kinds/dir'), '');
    const tar = (name: string): Promise<unknown> =>
      run('tar', ['-C', join(scratch, 'kinds'), '-cf', join(scratch, `${name}.tar`), name]);
    await tar('file');
    await tar('dir');
    const put = (name: string): ReturnType<typeof call> =>
      call(
        'PUT',
        '/containers/live/archive?path=/t&noOverwriteDirNonDir=1',
        readFileSync(join(scratch, `${name}.tar`)),
      );
    expect((await put('file')).text).toContain('cannot overwrite non-directory \\"file\\" with directory \\"/t\\"');
    expect((await put('dir')).text).toContain('cannot overwrite directory \\"dir\\" with non-directory \\"/t\\"');
    expect(await exec('live', 'cat /t/file /t/dir/f')).toBe('f\ncontent\n');
  });

  it('keeps modes, hard links, and the owner that the archive or -a says', async () => {
    const tar = join(scratch, 'links.tar');
    await run('sh', ['-c', `DOCKER_HOST=${stack.dockerHost} docker cp live:/t - > ${tar}`]);
    const listed = (await run('tar', ['-tvf', tar, '--numeric-owner'])).stdout;
    expect(listed).toMatch(/-rwsr-xr-x 0\/0 +2 .* t\/other/);
    expect(listed).toMatch(/hrwsr-xr-x 0\/0 +0 .* t\/suid link to t\/other/);
    await ok('run', '-d', '--name', 'user', '-u', 'www-data', 'busybox', 'sleep', '10000');
    await ok('cp', '-a', join(scratch, 'tree'), 'user:/tmp/own');
    expect(await exec('user', 'stat -c %u:%g /tmp/own/script')).toBe('33:33\n');
    await ok('rm', '-f', 'user');
  });

  it('sees the files that are bind-mounted into it', async () => {
    const outcome = await stack.docker('cp', 'live:/etc/hosts', join(scratch, 'hosts'));
    expect(outcome.code).toBe(0);
    expect(readFileSync(join(scratch, 'hosts'), 'utf8')).toContain('127.0.0.1\tlocalhost');
    const over = await call('PUT', '/containers/live/archive?path=/', hostsTar());
    expect(over).toMatchObject({ status: 500, text: '{"message":"RemoveAll etc/hosts: device or resource busy"}\n' });
  });

  it('leaves nothing running when the client goes away midway', async () => {
    await exec('live', 'dd if=/dev/zero of=/large bs=1M count=64 2>/dev/null');
    const gone = new AbortController();
    const answer = await fetch(`http://127.0.0.1:${stack.port}/containers/live/archive?path=/large`, {
      signal: gone.signal,
    });
    await answer.body?.getReader().read();
    gone.abort();
    await ok('cp', 'live:/t/file', join(scratch, 'after'));
    expect(await exec('live', 'rm /large && echo gone')).toBe('gone\n');
  });

  it('refuses a read-only root', async () => {
    await ok('run', '-d', '--name', 'fixed', '--read-only', 'busybox', 'sleep', '10000');
    const refused = await stack.docker('cp', join(scratch, 'one'), 'fixed:/tmp');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('container rootfs is marked read-only');
    await ok('rm', '-f', 'fixed');
  });
});

describe('docker cp with a stopped container', () => {
  it('finds the working directory of a container that was never started', async () => {
    await ok('create', '--name', 'workless', '-w', '/home/foo/bar', 'busybox', 'true');
    await ok('cp', 'workless:/home/foo/bar', join(scratch, 'bar'));
    expect(readdirSync(join(scratch, 'bar'))).toEqual([]);
    writeFileSync(join(scratch, 'in-bar'), 'in\n');
    await ok('cp', join(scratch, 'in-bar'), 'workless:/home/foo/bar');
    expect((await ok('cp', 'workless:/home/foo/bar/in-bar', '-')).toString()).toContain('in\n');
    await ok('rm', 'workless');
  });

  it('copies files in before the first start, out after the end, and more in again', async () => {
    await ok('create', '--name', 'still', 'busybox', 'sh', '/job/run.sh');
    mkdirSync(join(scratch, 'job'));
    writeFileSync(
      join(scratch, 'job/run.sh'),
      'cat /job/input > /result; echo done >> /result; cat /job/more 2>/dev/null; true\n',
    );
    writeFileSync(join(scratch, 'job/input'), 'data\n');
    await ok('cp', join(scratch, 'job'), 'still:/job');
    expect(await ok('start', '-a', 'still')).toBe('');
    await ok('cp', 'still:/result', join(scratch, 'result'));
    expect(readFileSync(join(scratch, 'result'), 'utf8')).toBe('data\ndone\n');
    writeFileSync(join(scratch, 'more'), 'more\n');
    await ok('cp', join(scratch, 'more'), 'still:/job/more');
    expect(await ok('start', '-a', 'still')).toBe('more\n');
    const missing = await stack.docker('cp', 'still:/nope', scratch);
    // Debian 12's CLI has its own message.
    expect(missing.stderr).toMatch(
      /Could not find the file \/nope in container still|No such container:path: still:\/nope/,
    );
    await ok('rm', 'still');
  });

  it('copies files out of one that is just ending', async () => {
    for (let i = 0; i < 3; i++) {
      await ok('run', '-d', '--name', 'ending', 'busybox', 'sh', '-c', 'echo result > /result; echo over');
      await ok('logs', '-f', 'ending');
      await ok('cp', 'ending:/result', join(scratch, 'ended'));
      expect(readFileSync(join(scratch, 'ended'), 'utf8')).toBe('result\n');
      await ok('rm', '-f', 'ending');
    }
  });

  it('copies in twenty megabytes', async () => {
    await ok('create', '--name', 'both', 'busybox', 'cat', '/late');
    writeFileSync(join(scratch, 'late'), Buffer.alloc(20_000_000, 'late '));
    await ok('cp', join(scratch, 'late'), 'both:/late');
    expect((await ok('start', '-a', 'both')).length).toBe(20_000_000);
    await ok('rm', 'both');
  });
});

describe('docker diff and export', () => {
  const CHANGES =
    'echo x > /new; mkdir -p /nd/sub; echo y > /nd/sub/f; rm /etc/shadow; touch /etc/passwd; chmod 700 /root; mkdir -p /var/www/z;' +
    'mv /usr/sbin /usr/sbin2; echo l > /etc/hosts; ln -s a /sl; mkfifo /ff; rm -rf /tmp; echo t > /tmp; touch "/a b"; touch /dev/zz';
  // As Docker's engine reported it for the same commands, in the same image.
  const EXPECTED = [
    'A /a b',
    'C /etc',
    'C /etc/passwd',
    'D /etc/shadow',
    'A /ff',
    'A /nd',
    'A /nd/sub',
    'A /nd/sub/f',
    'A /new',
    'A /sl',
    'C /tmp',
    'C /usr',
    'D /usr/sbin',
    'A /usr/sbin2',
    'C /var',
    'C /var/www',
    'A /var/www/z',
    'A /work',
    'A /work/dir',
  ];

  it('report the changes, while it runs and afterwards', async () => {
    await ok(
      'run',
      '-d',
      '--name',
      'changed',
      '-w',
      '/work/dir',
      'busybox',
      'sh',
      '-c',
      `${CHANGES}; echo ready; exec sleep 1000`,
    );
    await expect.poll(() => ok('logs', 'changed'), { interval: 100 }).toContain('ready');
    expect((await ok('diff', 'changed')).trim().split('\n')).toEqual(EXPECTED);
    const live = join(scratch, 'live.tar');
    await ok('export', '-o', live, 'changed');
    await ok('stop', '-t', '0', 'changed');
    expect((await ok('diff', 'changed')).trim().split('\n')).toEqual(EXPECTED);
    const later = join(scratch, 'later.tar');
    await ok('export', '-o', later, 'changed');
    const list = async (tar: string): Promise<string> => (await run('tar', ['-tvf', tar, '--numeric-owner'])).stdout;
    expect(await list(later)).toBe(await list(live));
    expect(await list(live)).toMatch(/ new\n/);
    expect((await run('tar', ['-xOf', live, 'nd/sub/f'])).stdout).toBe('y\n');
    await ok('rm', 'changed');
  });
});

describe('docker commit', () => {
  it('makes runnable images of a running container and of one that has exited', async () => {
    const script =
      'echo one > /one; rm /etc/shadow; mv /usr/sbin /usr/moved; ln /one /same; echo ready; exec sleep 1000';
    await ok('run', '-d', '--name', 'source', '-e', 'OWN=1', 'busybox', 'sh', '-c', script);
    await expect.poll(() => ok('logs', 'source'), { interval: 100 }).toContain('ready');
    const id = await ok(
      'commit',
      '-a',
      'Me',
      '-m',
      'why',
      '-c',
      'CMD ["cat","/one"]',
      '-c',
      'ENV A=b',
      'source',
      'made:live',
    );
    expect(id).toMatch(/^sha256:[0-9a-f]{64}\n$/);
    expect(await ok('images', '--format', '{{.Repository}}:{{.Tag}}')).toContain('made:live');
    expect(await ok('run', '--rm', 'made:live')).toBe('one\n');
    const look = 'ls -d /usr/* /etc/shadow 2>/dev/null; stat -c %h /same; echo $A$OWN';
    expect(await ok('run', '--rm', 'made:live', 'sh', '-c', look)).toBe('/usr/bin\n/usr/moved\n2\nb1\n');
    // It continues, and its later changes are not in the image.
    expect(await exec('source', 'echo two >> /one && cat /one')).toBe('one\ntwo\n');
    await ok('stop', '-t', '0', 'source');
    await ok('commit', 'source', 'made:stopped');
    expect(await ok('run', '--rm', 'made:stopped', 'cat', '/one')).toBe('one\ntwo\n');
    expect(await ok('inspect', '-f', '{{.Author}}|{{.Comment}}|{{len .RootFS.Layers}}', 'made:live')).toBe(
      'Me|why|2\n',
    );
    await ok('rm', 'source');
    await ok('rmi', 'made:live', 'made:stopped');
  });

  it('captures a single instant, over and over, and lets the container continue', async () => {
    const put = (name: string): string => `echo $i > /${name}.new; mv /${name}.new /${name}`;
    const script = `i=0; while :; do i=$((i+1)); ${put('one')}; ${put('two')}; [ $((i%20)) = 0 ] && sync; done`;
    await ok('run', '-d', '--name', 'busy', 'busybox', 'sh', '-c', script);
    await expect.poll(async () => (await stack.docker('exec', 'busy', 'cat', '/two')).code, { interval: 100 }).toBe(0);
    const names = ['busy:1', 'busy:2', 'busy:3', 'busy:4'];
    for (const name of names.slice(0, 2)) await ok('commit', 'busy', name);
    await Promise.all(names.slice(2).map((name) => ok('commit', 'busy', name)));
    for (const name of names) {
      await ok('create', '--name', 'picture', name);
      const read = async (path: string): Promise<number> => {
        const tar = join(scratch, 'picture.tar');
        await run('sh', ['-c', `DOCKER_HOST=${stack.dockerHost} docker cp picture:${path} - > ${tar}`]);
        return Number((await run('tar', ['-xOf', tar])).stdout);
      };
      const ahead = (await read('/one')) - (await read('/two'));
      expect([0, 1], name).toContain(ahead);
      await ok('rm', 'picture');
    }
    const before = Number(await exec('busy', 'cat /one'));
    await expect.poll(async () => Number(await exec('busy', 'cat /one')), { interval: 100 }).toBeGreaterThan(before);
    await ok('rm', '-f', 'busy');
    await ok('rmi', ...names);
  });
});

/** `etc/hosts`, which is bind-mounted in a running container. */
function hostsTar(): Buffer {
  mkdirSync(join(scratch, 'bound/etc'), { recursive: true });
  writeFileSync(join(scratch, 'bound/etc/hosts'), 'x');
  const path = join(scratch, 'hosts.tar');
  rmSync(path, { force: true });
  return tarOf(join(scratch, 'bound'), 'etc/hosts', path);
}

function tarOf(directory: string, name: string, path: string): Buffer {
  execFileSync('tar', ['-C', directory, '-cf', path, name]);
  return readFileSync(path);
}
