/** Volumes through the docker CLI: what containers keep, share and leave behind. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Docker from 'dockerode';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type MirroredStack, startMirroredStack } from '../support/mirrored-stack.js';
import { startNfsServer } from '../support/nfs-server.js';
import { type Outcome, run } from '../support/stack.js';
import { endpointPid } from '../support/started.js';

/** What is backed up is looked at without a host. */
const VIC_MACHINE = fileURLToPath(new URL('../../dist/src/cli/vic-machine.js', import.meta.url));

let stack: MirroredStack;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox', 'odd-tree']);
  expect((await stack.docker('pull', 'busybox')).code).toBe(0);
});

afterAll(() => stack?.stop());

afterEach(async () => {
  const { stdout: containers } = await stack.docker('ps', '-aq');
  if (containers !== '') await stack.docker('rm', '-f', ...containers.trim().split('\n'));
  // `prune -a` is newer than Debian 12's CLI.
  const { stdout: left } = await stack.docker('volume', 'ls', '-q');
  if (left !== '') await stack.docker('volume', 'rm', ...left.trim().split('\n'));
});

/** The output of a command that must succeed. */
const good = async (...args: string[]): Promise<string> => {
  const { stdout, stderr, code } = await stack.docker(...args);
  if (code !== 0) throw new Error(`docker ${args.join(' ')}: ${code}: ${stderr}`);
  return stdout.trim();
};
const sh = (options: string[], script: string, image = 'busybox'): Promise<string> =>
  good('run', '--rm', ...options, image, 'sh', '-c', script);
/** The process of a container's virtual machine. */
const machineOf = async (name: string): Promise<number> => {
  const moid = await good('inspect', '-f', '{{.GraphDriver.Data.VM}}', name);
  const file = join(stack.paths.runDir, 'vm', `${moid}.pid`);
  return (JSON.parse(readFileSync(file, 'utf8')) as { pid: number }).pid;
};
const lines = (text: string): string[] => (text === '' ? [] : text.split('\n').sort());
const volumes = async (): Promise<string[]> => lines(await good('volume', 'ls', '-q'));
/** Volumes on the datastore, including half-made or half-removed ones. */
const stored = (): string[] => {
  const directory = join(stack.paths.datastoreDir, 'VIC');
  return readdirSync(directory)
    .flatMap((vch) => readdirSync(join(directory, vch, 'volumes')))
    .filter((name) => name !== 'points');
};

describe('a named volume', () => {
  it('outlives its containers', async () => {
    await good('volume', 'create', '--label', 'k=v', 'kept');
    await sh(['-v', 'kept:/data', '-v', 'other:/o'], 'echo one > /data/f; ln /data/f /data/g; echo two > /o/g');
    expect(await sh(['-v', 'other:/x/y', '-v', 'kept:/data'], 'cat /data/g /x/y/g; rm /data/f')).toBe('one\ntwo');
    expect(await volumes()).toEqual(['kept', 'other']);
    expect(JSON.parse(await good('volume', 'inspect', 'kept'))).toMatchObject([{ Name: 'kept', Labels: { k: 'v' } }]);
    expect(await good('system', 'df', '-v')).toMatch(/^kept +0 +4B$/m);
    await good('volume', 'rm', 'kept', 'other');
    expect(stored()).toEqual([]);
  });

  it('has the requested size', async () => {
    await good('volume', 'create', '-d', 'vsphere', '-o', 'Capacity=64MB', 'small');
    const script = 'df -m /s | tail -1; dd if=/dev/zero of=/s/f bs=1M count=100 2>&1 | grep -o "No space.*"';
    expect(await sh(['-v', 'small:/s'], script)).toMatch(/ 5\d .*\/s\nNo space left on device$/);
  });

  it('is shared by running containers, whichever of them ends, and is free when all have', async () => {
    const first = ['-d', '--name', 'first', '-v', 'shared:/d', 'busybox', 'sh', '-c'];
    await good('run', ...first, 'echo hi > /d/f; trap "exit 7" TERM; while :; do usleep 20000; done');
    // It prints what is certain to be on the disk.
    const writes =
      'while :; do n=$((n+1)); echo $n | dd of=/d/log oflag=append conv=notrunc,fsync 2>/dev/null && echo $n; usleep 20000; done';
    await good('run', '-d', '--name', 'second', '-v', 'shared:/d', 'busybox', 'sh', '-c', writes);
    expect(await sh(['-v', 'shared:/d:ro'], 'cat /d/f; touch /d/no 2>&1; true')).toMatch(
      /^hi\n.*Read-only file system$/,
    );
    expect(lines(await good('network', 'ls', '--format', '{{.Name}}'))).toEqual(['bridge', 'host', 'none']);
    expect((await stack.docker('volume', 'rm', 'shared')).stderr).toMatch(/volume is in use - \[\w{64}, \w{64}\]/);
    const written = async (): Promise<number> => lines(await good('logs', 'second')).length;
    /** Since now, something more was written. */
    const goesOn = async (): Promise<void> => {
      const before = await written();
      await expect.poll(written, { timeout: 90_000 }).toBeGreaterThan(before + 1);
      expect(lines(await good('ps', '-a', '--format', '{{.Names}}'))).toEqual(['first', 'second']);
    };
    await goesOn();
    await expect.poll(() => good('exec', 'first', 'sh', '-c', 'tail -n 1 /d/log')).toMatch(/^\d+$/);
    // Whose machine has the disk dies.
    process.kill(await machineOf('first'), 'SIGKILL');
    expect(await good('wait', 'first')).toBe('137');
    await goesOn();
    await good('start', 'first');
    process.kill(endpointPid(stack.paths, 'test'), 'SIGKILL');
    await stack.restartHostd();
    await expect.poll(async () => (await stack.docker('ps', '-q')).code, { timeout: 60_000 }).toBe(0);
    await goesOn();
    // Nothing is missing that was said to be there.
    const acknowledged = lines(await good('logs', 'second'));
    const kept = new Set(lines(await good('exec', 'first', 'cat', '/d/log')));
    expect(acknowledged.filter((one) => !kept.has(one))).toEqual([]);
    await good('rm', '-f', 'second');
    await good('stop', 'first');
    expect(await good('wait', 'first')).toBe('7');
    // Alone, then beside another one, when it ends as it is asked to.
    await good('start', 'first');
    await good('run', '-d', '--name', 'second', '-v', 'shared:/d', 'busybox', 'sh', '-c', writes);
    await good('stop', 'first');
    expect(await good('wait', 'first')).toBe('7');
    await goesOn();
    await good('rm', '-f', 'second', 'first');
    await good('volume', 'rm', 'shared');
    const inventory = readFileSync(join(stack.paths.stateDir, 'inventory.json'), 'utf8');
    expect(inventory).not.toMatch(/\+[0-9a-f]{12}\+/);
    expect(inventory).not.toContain('volume:');
  }, 400_000);

  it('is read by several, who keep others from writing to what they read', async () => {
    await good('run', '-d', '--name', 'writer', '-v', 'shared:/d', 'busybox', 'sh', '-c', 'echo hi > /d/f; sleep 600');
    await good('exec', 'writer', 'sh', '-c', 'until test -s /d/f; do sleep 0.01; done');
    // A volume that a killed VM did not unmount can still be mounted by machines that cannot write to it.
    await good('kill', 'writer');
    await good('rm', 'writer');
    for (const name of ['one', 'two'])
      await good('run', '-d', '--name', name, '-v', 'shared:/d:ro', 'busybox', 'sleep', '600');
    expect(await good('exec', 'one', 'cat', '/d/f')).toBe('hi');
    expect((await stack.docker('exec', 'two', 'sh', '-c', 'cat /d/f; touch /d/no; mount')).stdout).toMatch(
      /^hi\n.* on \/d type ext4 \(ro,/s,
    );
    const refused = await stack.docker('run', '--rm', '-v', 'shared:/d', 'busybox', 'true');
    expect(refused.code).toBe(125);
    expect(refused.stderr).toMatch(/volume "shared" is in use by container (one|two) \(\w{12}\), which only reads it/);
  });
});

describe('an empty volume', () => {
  it('gets the image’s content at its path', async () => {
    const script =
      'mkdir -p /srv/in; cd /srv; echo data > in/file; ln in/file in/other; ln -s file in/link; chown -R 12:34 .; chmod 750 .; mkdir /none /real; ln -s real /alias; ln -s ../to/come /real/later';
    await good('run', '--name', 'base', 'busybox', 'sh', '-c', script);
    await good('commit', '-c', 'VOLUME /srv', 'base', 'filled');
    const look = 'cd /srv; stat -c "%a %u:%g" . in; cat in/link; test in/file -ef in/other && echo same';
    const content = '750 12:34\n755 12:34\ndata\nsame';
    // An anonymous one of the image; a named one; an existing empty one.
    expect(await sh([], look, 'filled')).toBe(content);
    expect(await sh(['-v', 'named:/srv'], look, 'filled')).toBe(content);
    await good('volume', 'create', 'there');
    await good('create', '--name', 'made', '-v', 'there:/srv', 'filled');
    expect(await sh(['-v', 'there:/x:ro'], 'cat /x/in/other')).toBe('data');
    expect(await sh(['-v', 'raw:/srv:nocopy'], 'ls -A /srv; stat -c %a /srv', 'filled')).toBe('755');
    // A volume that is not empty stays unchanged.
    await sh(['-v', 'mine:/m'], 'echo mine > /m/own');
    expect(await sh(['-v', 'mine:/srv'], 'ls /srv', 'filled')).toBe('own');
    // Links are followed inside the root.
    expect(await sh(['-v', 'mine:/alias/new/m'], 'ls /real/new/m', 'filled')).toBe('own');
    expect(await sh(['-v', 'mine:/alias/later/m'], 'ls /to/come/m', 'filled')).toBe('own');
    expect(await sh(['-v', 'nothing:/none'], 'ls -A /none', 'filled')).toBe('');
    expect(await volumes()).toEqual(['mine', 'named', 'nothing', 'raw', 'there']);
    await good('rm', '-f', 'base', 'made');
    await good('rmi', 'filled');
  });
});

describe('anonymous volumes', () => {
  it('are removed with a container on request, unless another one uses them', async () => {
    await sh(['--mount', 'type=volume,dst=/b', '-v', 'named:/c'], 'touch /b/x /c/x');
    expect(await volumes()).toEqual(['named']);
    await good('run', '--name', 'one', '-v', '/a', '-v', 'named:/c', 'busybox', 'sh', '-c', 'echo hi > /a/f');
    await good('create', '--name', 'two', '--volumes-from', 'one:ro', 'busybox', 'sh', '-c', 'cat /a/f; touch /a/g');
    await good('rm', '-v', 'one');
    expect(await volumes()).toHaveLength(2);
    const { stdout, stderr } = await stack.docker('start', '-a', 'two');
    expect([stdout, stderr]).toEqual(['hi\n', 'touch: /a/g: Read-only file system\n']);
    await good('rm', '-v', 'two');
    expect(await volumes()).toEqual(['named']);
    expect(stored()).toHaveLength(1);
  });
});

describe('a mount', () => {
  it('is made in the order of the paths, of a whole volume or a part', async () => {
    const memory = ['--mount', 'type=tmpfs,dst=/o/i/t,tmpfs-mode=700'];
    const script = 'cd /o/i/t; stat -c %a .; for d in /o /o/i; do echo $d > $d/f; done; mount | grep -c " /o"';
    expect(await sh(['-v', 'inner:/o/i', ...memory, '-v', 'outer:/o'], script)).toBe('700\n3');
    expect(await sh(['-v', 'outer:/x', '-v', 'inner:/y'], 'cat /x/f /y/f; ls /x /x/i /y')).toBe(
      '/o\n/o/i\n/x:\nf\ni\n\n/x/i:\n\n/y:\nf\nt',
    );
    await sh(['-v', 'outer:/x'], 'mkdir -p /x/part/deep; echo deep > /x/part/deep/f; ln -s /part/deep /x/way');
    // Debian 12's CLI does not know `volume-subpath`.
    const part = (name: string, Subpath: string): Promise<Docker.Container> =>
      new Docker({ host: '127.0.0.1', port: stack.port }).createContainer({
        name,
        Image: 'busybox',
        Cmd: ['sh', '-c', 'ls /p; cat /p/f'],
        HostConfig: {
          Mounts: [
            {
              Type: 'volume',
              Source: 'outer',
              Target: '/p',
              VolumeOptions: { Subpath, NoCopy: false, Labels: {}, DriverConfig: { Name: 'local', Options: {} } },
            },
          ],
        },
      });
    await part('part', 'way');
    expect(await good('start', '-a', 'part')).toBe('f\ndeep');
    await part('none', 'nope');
    expect((await stack.docker('start', '-a', 'none')).stderr).toContain(
      'cannot access path nope in the volume: no such file or directory',
    );
  });

  it('may be one of more than fit on one SCSI controller', async () => {
    const many = Array.from({ length: 20 }, (_, i) => ['-v', `many${i}:/m/${i}`]).flat();
    const write = 'for d in /m/*; do echo $d > $d/f; done; mount | grep -c " /m/"; sleep 600';
    await good('run', '-d', '--name', 'many', ...many, 'busybox', 'sh', '-c', write);
    await expect.poll(() => good('logs', 'many')).toBe('20');
    expect(await good('exec', 'many', 'cat', '/m/0/f', '/m/19/f')).toBe('/m/0\n/m/19');
    await good('restart', '-t', '0', 'many');
    await good('stop', '-t', '0', 'many');
    expect(await good('exec', 'many', 'true').catch(String)).toContain('is not running');
    const copied = join(stack.paths.stateDir, 'copied');
    await good('cp', 'many:/m/17/f', copied);
    expect(readFileSync(copied, 'utf8')).toBe('/m/17\n');
    const tooMany = Array.from({ length: 60 }, (_, i) => ['-v', `more${i}:/m/${i}`]).flat();
    expect((await stack.docker('create', ...tooMany, 'busybox')).stderr).toContain(
      "a container's virtual machine can have 59 volumes, not 60",
    );
    expect((await volumes()).length).toBe(20);
  });

  it('follows links inside the root, and leads nowhere else', async () => {
    const at = ['/var/run/act', '/data', '/out/x'].flatMap((path, i) => ['-v', `at${i}:${path}`]);
    expect(
      await sh([...at, '--tmpfs', '/data/t'], "mount | grep -oE ' /(run|nowhere|nw)[^ ]*' | sort", 'odd-tree'),
    ).toBe('/nowhere/data\n /nowhere/data/t\n /nw/side/x\n /run/act');
    // Names longer than one letter: the docker CLI takes `a:/` for a Windows drive.
    for (const [options, words] of [
      [['-v', 'one:/plain'], 'source /plain is not directory'],
      [['-v', 'one:/loop'], 'evalSymlinksInScope: too many links in /loop'],
      [['-v', 'two:/plain/x'], 'lstat /plain/x: not a directory'],
      [['-v', 'one:/proc/1'], '"/proc/1" cannot be mounted because it is inside /proc'],
      [['--tmpfs', '/plain'], 'not a directory: Are you trying to mount a directory onto a file'],
    ] as const) {
      const { stderr, code } = await stack.docker('run', '--rm', ...options, 'odd-tree', 'true');
      expect(stderr).toContain(words);
      expect(code).toBe(125);
    }
    // Whichever of the tether's own descriptors is a directory: none is a way out.
    const ways = await Promise.all(
      [3, 4, 5, 6, 7, 8, 9].map((fd) => stack.docker('run', '--rm', '-w', `/proc/self/fd/${fd}`, 'odd-tree', 'true')),
    );
    const outside = 'current working directory is outside of container mount namespace root';
    for (const { stderr } of ways) expect(stderr).toMatch(new RegExp(`${outside}|is not a directory`));
    expect(ways.some(({ stderr }) => stderr.includes(outside))).toBe(true);
  });

  it('covers whatever an image has at the engine’s mount points', async () => {
    // Nothing that looks up a user: a program that opens this /etc/passwd waits forever.
    const looks = [
      'stat -c %F /etc/resolv.conf',
      'readlink /etc/mtab',
      'grep -c localhost /etc/hosts',
      'cat /etc/other',
    ];
    const script = [...looks, 'ls -d /proc/1 /dev/null', 'grep Gid /proc/self/status'].join('; ');
    const expected = /^regular file\n\/proc\/mounts\n2\nshared\/dev\/null\n\/proc\/1\nGid:\t77\t/;
    for (const options of [[], ['--read-only'], ['--tmpfs', '/run']])
      expect(await sh([...options, '-u', '5:blank'], script, 'odd-tree')).toMatch(expected);
    await good('create', '--name', 'odd', 'odd-tree', 'true');
    expect(await good('diff', 'odd')).toBe('');
    await good('start', '-a', 'odd');
    expect(await good('diff', 'odd')).toBe('');
    expect((await stack.docker('run', '--rm', '-u', 'nobody', 'odd-tree', 'true')).stderr).toContain(
      'unable to find user nobody: no matching entries in passwd file',
    );
  });

  it('is not part of the container’s own files', async () => {
    await good('run', '--name', 'own', '-v', 'data:/data', 'busybox', 'sh', '-c', 'echo x > /data/f; echo y > /y');
    expect(lines(await good('diff', 'own'))).toEqual(['A /data', 'A /y']);
    await good('commit', 'own', 'committed');
    expect(await sh([], 'ls -A /data; cat /y', 'committed')).toBe('y');
    await good('rmi', 'committed');
  });
});

/** `vic-machine fsck` on the stack's state directory. */
function fsck(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const program = fileURLToPath(new URL('../../dist/src/cli/vic-machine.js', import.meta.url));
  const all = [program, 'fsck', '--state-dir', stack.paths.stateDir, ...args];
  return spawnSync(process.execPath, all, { encoding: 'utf8' });
}

describe('restarts', () => {
  it('of endpoint and host lose no volumes, and fsck finds what is kept clean', async () => {
    const ended = await good('create', 'busybox', 'sh', '-c', 'echo a > /a; mkdir /b; echo c > /b/c; rm /etc/passwd');
    await good('start', '-a', ended);
    await good('commit', ended, 'kept');
    const killed = await good(
      'run',
      '-d',
      '-v',
      'killed:/d',
      'kept',
      'sh',
      '-c',
      'echo d > /d/d; echo e > /e; sync; sleep 600',
    );
    await good('exec', killed, 'sh', '-c', 'until test -e /e; do usleep 10000; done; echo more > /d/more');
    await good('kill', killed);
    await good(
      'run',
      '-d',
      '--name',
      'runs',
      '--restart',
      'always',
      '-v',
      'vol:/d',
      'busybox',
      'sh',
      '-c',
      'date +%s >> /d/f; sleep 600',
    );
    await good('run', '-d', '--name', 'dies', '-v', '/a', 'busybox', 'sleep', '600');
    const vch = readdirSync(join(stack.paths.datastoreDir, 'VIC'))[0]!;
    const directory = join(stack.paths.datastoreDir, 'VIC', vch, 'volumes');
    const unreadable = join(directory, 'f'.repeat(64));
    // While containers run, and while they run without the engine.
    expect(fsck('--quick')).toMatchObject({ status: 0, stdout: expect.stringMatching(/^clean: \d images/m) });
    expect(fsck('--repair').stderr).toContain('the embedded host runs');
    const disk = join(stack.paths.datastoreDir, ended, `${ended}.vmdk`);
    await stack.restart(() => {
      const found = fsck();
      expect(found).toMatchObject({
        status: 0,
        stdout: expect.stringMatching(/^clean: \d images, \d layers, 3 volumes/m),
      });
      expect(found.stdout).toContain('a running virtual machine writes to it');
      truncateSync(disk, 4 << 20);
      mkdirSync(join(directory, `${'e'.repeat(64)}.upload-1`));
      mkdirSync(unreadable);
      writeFileSync(join(unreadable, 'volume.json'), '{"name":"other"');
      expect(fsck('--quick')).toMatchObject({
        status: 4,
        stdout: expect.stringMatching(/\[volume.unfinished\](.|\n)*\[volume.record\](.|\n)*\[machine.disk\]/),
      });
    });
    const refused = await stack.docker('start', ended);
    expect(refused.stderr).toMatch(new RegExp(`disk .*${ended}.vmdk cannot be used: .*'vic-machine fsck'`));
    await good('rm', '-v', ended, killed);
    await good('volume', 'rm', 'killed');
    // Half-made ones are gone; unreadable ones are not volumes, and stay.
    expect(await volumes()).toHaveLength(2);
    expect(stored().sort().at(-1)).toBe('f'.repeat(64));
    expect(stored()).toHaveLength(3);
    rmSync(unreadable, { recursive: true });
    for (const deadline = Date.now() + 30_000; Date.now() < deadline; )
      if ((await stack.docker('exec', 'runs', 'true')).code === 0) break;
    expect(await good('exec', 'runs', 'cat', '/d/f')).toMatch(/^\d+(\n\d+)?$/);
    await stack.restartHostd();
    await good('exec', 'runs', 'sh', '-c', 'echo more > /d/more');
    await good('rm', '-fv', 'runs', 'dies');
    expect(await volumes()).toEqual(['vol']);
    expect(await sh(['-v', 'vol:/d'], 'wc -l < /d/f; cat /d/more')).toMatch(/^[12]\nmore$/);
  });
});

describe('a volume without a disk', () => {
  it('of type tmpfs is in the memory of its container, which has it for itself', async () => {
    const options = ['-o', 'type=tmpfs', '-o', 'device=tmpfs', '-o', 'o=size=5m,uid=7,mode=700'];
    await good('volume', 'create', ...options, 'memory');
    await good('run', '-d', '--name', 'one', '-v', 'memory:/m', 'busybox', 'sleep', '600');
    expect(await good('exec', 'one', 'sh', '-c', 'stat -c "%u %a" /m; df -k /m | tail -1; echo hi > /m/f')).toMatch(
      /^7 700\ntmpfs +5120 /,
    );
    expect(await good('cp', 'one:/m/f', '-')).toContain('hi');
    const second = await stack.docker('run', '--rm', '-v', 'memory:/m', 'busybox', 'true');
    expect(second.stderr).toContain('volume "memory" is in use by container one');
    await good('rm', '-f', 'one');
    expect(await sh(['-v', 'memory:/m'], 'ls /m')).toBe('');
  });

  it('of type nfs is shared, and a server that does not answer keeps nothing from being removed', async () => {
    const server = await startNfsServer();
    try {
      const create = (name: string, o: string): Promise<string> =>
        good(
          'volume',
          'create',
          '-o',
          'type=nfs',
          '-o',
          `o=addr=${server.address},nfsvers=4${o}`,
          '-o',
          'device=:/data',
          name,
        );
      await create('net', '');
      await create('closed', ',port=9');
      const [, , refused] = await Promise.all([
        good('run', '-d', '--name', 'one', '-v', 'net:/n', 'busybox', 'sleep', '600'),
        good('run', '-d', '--name', 'two', '-v', 'net:/n:ro', 'busybox', 'sleep', '600'),
        stack.docker('run', '--rm', '-v', 'closed:/n', 'busybox', 'true'),
      ]);
      expect(refused).toMatchObject({ code: 125 });
      expect(refused.stderr).toContain(
        `error while mounting volume 'closed': failed to mount local volume: mount :/data:closed, data: addr=${server.address},nfsvers=4,port=9: connection refused`,
      );
      await good('exec', 'one', 'sh', '-c', 'echo shared > /n/f; chown 5:6 /n/f');
      expect(await good('exec', 'two', 'sh', '-c', 'cat /n/f; stat -c %u:%g /n/f; touch /n/g 2>&1; true')).toBe(
        'shared\n5:6\ntouch: /n/g: Read-only file system',
      );
      expect(readFileSync(join(server.directory, 'f'), 'utf8')).toBe('shared\n');
      writeFileSync(join(server.directory, 'from-outside'), 'seen\n');
      expect(await good('cp', 'two:/n/from-outside', '-')).toContain('seen');
      server.pause();
      expect(await good('inspect', '-f', '{{.State.Status}}', 'one')).toBe('running');
      expect(await good('exec', 'one', 'echo', 'alive')).toBe('alive');
      await Promise.all(['one', 'two'].map((name) => good('rm', '-f', name)));
    } finally {
      await server.stop();
    }
  });
});

describe('the content of a volume', () => {
  const vic = async (command: string, ...args: string[]): Promise<string> => {
    const { stdout, stderr, code } = await stack.vicMachine('volume', command, '--name', 'test', ...args);
    if (code !== 0) throw new Error(`vic-machine volume ${command} ${args.join(' ')}: ${stderr}`);
    return stdout.trim();
  };
  const diskOf = async (volume: string): Promise<string> =>
    (await good('volume', 'inspect', '-f', '{{.Mountpoint}}', volume)).replace(
      /^\[\w+\] /,
      `${stack.paths.datastoreDir}/`,
    );
  /** What qemu-img and e2fsck say about a volume that nobody uses. */
  const judge = async (volume: string): Promise<void> => {
    const disk = await diskOf(volume);
    const raw = join(stack.paths.datastoreDir, 'judged.raw');
    try {
      for (const [command, ...args] of [
        ['qemu-img', 'check', disk],
        ['qemu-img', 'convert', '-O', 'raw', disk, raw],
        ['e2fsck', '-fn', raw],
      ] as [string, ...string[]][])
        expect({ command, ...(await run(command, args)) }).toMatchObject({ command, code: 0 });
    } finally {
      rmSync(raw, { force: true });
    }
  };

  it('is kept and cloned while a container writes to it', async () => {
    await good('volume', 'create', '-o', 'Capacity=256MB', 'busy');
    const writer =
      'i=0; while true; do i=$((i+1)); echo $i >> /d/log; echo $i > /d/new; mv /d/new /d/last; cp /d/log /d/copy; done';
    await good('run', '-d', '--name', 'writer', '-v', 'busy:/d', 'busybox', 'sh', '-c', writer);
    await good('exec', 'writer', 'sh', '-c', 'until test -s /d/last; do sleep 0.01; done');
    expect(await vic('snapshot', '--volume', 'busy', '--snapshot', 'one')).toBe('busy@one');
    const seen = Number(await good('exec', 'writer', 'cat', '/d/last'));
    // It goes on writing, and not to the snapshot.
    await good('exec', 'writer', 'sh', '-c', `until test $(cat /d/last) -gt ${seen + 3}; do sleep 0.01; done`);
    await vic('clone', '--volume', 'busy', '--to', 'now');
    await good('volume', 'create', '-o', 'Clone=busy@one', 'then');
    await judge('now');
    await judge('then');
    const look =
      'cd /d; a=$(cat last); b=$(tail -n 1 log); wc -l < log; test $((b-a)) -le 1 && test $((b-a)) -ge 0 && echo good';
    const [then, verdict] = (await sh(['-v', 'then:/d'], look)).split('\n');
    expect(verdict).toBe('good');
    expect(Number(then)).toBeLessThanOrEqual(seen + 1);
    const [now, right] = (await sh(['-v', 'now:/d'], look)).split('\n');
    expect([right, Number(now) >= seen + 3]).toEqual(['good', true]);
    expect(await vic('ls')).toMatch(/^busy +268\.4MB +(in use|[\d.]+k?B) +1 +one$/m);
    expect(
      (await stack.vicMachine('volume', 'grow', '--name', 'test', '--volume', 'busy', '--capacity', '1g')).stderr,
    ).toContain('is in use by container writer');
    // Snapshots come and go.
    const snapshots = `http://127.0.0.1:${stack.port}/caisson/volumes/busy/snapshots`;
    const headers = { 'Content-Type': 'application/json' };
    for (const Name of ['two', 'three']) {
      const made = await fetch(snapshots, { method: 'POST', headers, body: JSON.stringify({ Name }) });
      expect(made.status, await made.text()).toBe(201);
      await good(
        'exec',
        'writer',
        'sh',
        '-c',
        'a=$(cat /d/last); until test $(cat /d/last) -gt $a; do sleep 0.01; done',
      );
      expect((await fetch(`${snapshots}/${Name}`, { method: 'DELETE' })).status).toBe(204);
    }
    const inUse = await fetch(`${snapshots}/one/revert`, { method: 'POST' });
    expect([inUse.status, await inUse.text()]).toEqual([409, expect.stringContaining('is in use by container writer')]);
    // The VM is started again with the disk that it was switched to, and its snapshots do not keep anything from going.
    await good('kill', 'writer');
    await judge('then');
    expect(await sh(['-v', 'busy:/d'], look)).toMatch(/good$/);
    await judge('busy');
    await good('rm', 'writer');
    expect(await vic('revert', '--volume', 'busy', '--snapshot', 'one')).toBe('busy is as in busy@one');
    expect(await sh(['-v', 'busy:/d'], look)).toBe(`${then}\ngood`);
    await judge('busy');
    expect((await stack.docker('volume', 'rm', 'busy')).stderr).toContain('volume busy has snapshots: one');
    await vic('snapshot', '--volume', 'busy', '--snapshot', 'one', '--remove');
    await good('volume', 'rm', 'busy');
    expect(await sh(['-v', 'now:/d:ro'], look)).toMatch(/good$/);
    expect((await stack.docker('volume', 'create', '-o', 'Clone=busy@one', 'no')).stderr).toContain(
      'get busy: no such volume',
    );
    // Nothing stays of the points that they shared.
    await good('volume', 'rm', 'now', 'then');
    expect(stored()).toEqual([]);
    const [vch = ''] = readdirSync(join(stack.paths.datastoreDir, 'VIC'));
    await expect
      .poll(() => readdirSync(join(stack.paths.datastoreDir, 'VIC', vch, 'volumes/points')), { timeout: 60_000 })
      .toEqual([]);
  });

  it('goes out and in again, as files and as a disk, and is made larger', async () => {
    const archives = stack.paths.stateDir;
    await good('volume', 'create', '-o', 'Capacity=256MB', 'now');
    await sh(['-v', 'now:/d'], 'seq 3000 > /d/log; cp /d/log /d/copy');
    for (const kind of ['tar', 'vmdk']) {
      const file = join(archives, `now.${kind}`);
      await vic('export', '--volume', 'now', '--file', file);
      expect(await vic('import', '--volume', `from-${kind}`, '--file', file)).toBe(`from-${kind}`);
      await judge(`from-${kind}`);
      expect(
        (await stack.vicMachine('volume', 'import', '--name', 'test', '--volume', 'now', '--file', file)).stderr,
      ).toContain("there is a volume 'now' already");
      // A tar is cut where no entry is broken: only its end mark is missing.
      truncateSync(file, kind === 'tar' ? statSync(file).size - 1024 : 3000);
      const cut = await stack.vicMachine('volume', 'import', '--name', 'test', '--volume', 'cut', '--file', file);
      expect(cut.stderr).toContain('volume cut cannot be made of this');
      if (kind === 'tar') expect(cut.stderr).toContain('no end mark');
      rmSync(file);
    }
    expect(await volumes()).not.toContain('cut');
    const sums = ['now', 'tar', 'vmdk'].map((name) => `(cd /${name}; md5sum log copy) | md5sum`).join('; ');
    const mounts = ['-v', 'now:/now', '-v', 'from-tar:/tar', '-v', 'from-vmdk:/vmdk'];
    const [one, two, three] = (await sh(mounts, sums)).split('\n');
    expect([two, three]).toEqual([one, one]);
    await good('volume', 'rm', 'from-tar', 'from-vmdk');
    // Made larger: the guest grows the filesystem, and what it makes of it can be read and changed here too.
    expect(await vic('grow', '--volume', 'now', '--capacity', '20g')).toBe('now has 21474836480 bytes');
    const small = await stack.vicMachine('volume', 'grow', '--name', 'test', '--volume', 'now', '--capacity', '1g');
    expect(small.stderr).toContain('a volume can be made larger, but not smaller');
    await judge('now');
    const size =
      'df -m /d | tail -n 1; mkdir /d/zeros; for i in 1 2 3; do dd if=/dev/zero of=/d/zeros/$i bs=1M count=8 2>/dev/null; done';
    expect(await sh(['-v', 'now:/d'], size)).toMatch(/ (19|20)\d{3} .* \/d$/);
    await judge('now');
    await good('create', '--name', 'grown', '-v', 'now:/d', 'busybox', 'cat', '/d/put/volumes.test.ts');
    await good('cp', import.meta.dirname, 'grown:/d/put');
    await judge('now');
    expect(await good('start', '-a', 'grown')).toContain('Made larger');
    await good('rm', 'grown');
    await good('volume', 'rm', 'now');
    expect(stored()).toEqual([]);
  });

  /** `vic-machine backup`. What is kept is looked at without a host. */
  const backup = (command: string, ...args: string[]): Promise<Outcome> =>
    command === 'create' || command === 'restore'
      ? stack.vicMachine('backup', command, '--name', 'test', ...args)
      : run(process.execPath, [VIC_MACHINE, 'backup', command, ...args]);
  const backedUp = async (command: string, ...args: string[]): Promise<string> => {
    const { stdout, stderr, code } = await backup(command, ...args);
    if (code !== 0) throw new Error(`vic-machine backup ${command} ${args.join(' ')}: ${stderr}`);
    return stdout.trim();
  };
  /** A file of a stopped container, or of a volume of it. */
  const fileOf = async (container: string, path: string): Promise<string> => {
    const copy = join(stack.paths.stateDir, 'copied');
    await good('cp', `${container}:${path}`, copy);
    return readFileSync(copy, 'utf8').trim();
  };

  it('and its container are backed up while that runs, then only what has changed, and restored', async () => {
    const place = join(stack.paths.stateDir, 'backups');
    await good('network', 'create', '--label', 'of=test', 'inner');
    await good('volume', 'create', '-o', 'Capacity=256MB', '--label', 'of=test', 'db');
    const script = [
      'test -f /db/ready || { echo own > /own; rm /etc/shadow; echo nobody > /unnamed/f;',
      'dd if=/dev/urandom of=/db/data bs=1M count=8 2>/dev/null; sync; touch /db/ready; }',
      // A file that is written in place could be caught empty.
      'put() { echo $i > $1.new; mv $1.new $1; }; i=0; while :; do i=$((i+1)); put /db/n; put /logs/n; done',
    ].join('\n');
    const mounts = ['-v', 'db:/db', '-v', 'logs:/logs', '-v', '/unnamed'];
    const options = ['--network', 'inner', '--network-alias', 'www', '-e', 'SECRET=1', '--label', 'a=b'];
    await good('run', '-d', '--name', 'app', ...options, ...mounts, 'busybox', 'sh', '-c', script);
    await good('exec', 'app', 'sh', '-c', 'until test -f /logs/n; do sleep 0.01; done');
    await backedUp('create', '--to', place);
    // One block in the middle, and what the loop writes: the next one reads little.
    const change =
      'dd if=/dev/urandom of=/db/data bs=4k count=1 seek=1000 conv=notrunc; md5sum /db/data > /db/sum; sync';
    await good('exec', 'app', 'sh', '-c', change);
    await backedUp('create', '--to', place);
    const { Backups } = JSON.parse(await backedUp('list', '--from', place, '--json')) as {
      Backups: { Id: string; Read: number; Written: number; Volumes: { Name: string; BasedOn: string | null }[] }[];
    };
    const [first, second] = Backups;
    expect(first!.Read).toBeGreaterThan(8 * 2 ** 20);
    expect(second!.Read).toBeLessThan(first!.Read / 2);
    expect(second!.Written).toBeLessThan(first!.Written / 2);
    expect(second!.Volumes.find(({ Name }) => Name === 'db')?.BasedOn).toBe(first!.Id);
    const [before] = JSON.parse(await good('inspect', 'app')) as { Config: { Hostname: string } }[];
    await good('rm', '-fv', 'app');
    await good('volume', 'rm', 'db', 'logs');
    await good('network', 'rm', 'inner');

    const made = lines(await backedUp('restore', '--from', place));
    expect(made).toEqual(expect.arrayContaining(['container app', 'volume db', 'volume logs']));
    for (const volume of ['db', 'logs']) await judge(volume);
    const [after] = JSON.parse(await good('inspect', 'app')) as object[];
    const { Hostname: _, ...config } = before!.Config;
    expect(after).toMatchObject({
      Config: config,
      State: { Status: 'created' },
      NetworkSettings: { Networks: { inner: { Aliases: ['www'] } } },
    });
    expect(JSON.parse(await good('volume', 'inspect', 'db'))).toMatchObject([
      { Labels: { of: 'test' }, Options: { Capacity: '256MB' } },
    ]);
    // Both volumes are of the same moment.
    expect([0, 1]).toContain(Number(await fileOf('app', '/db/n')) - Number(await fileOf('app', '/logs/n')));
    await good('start', 'app');
    const look = 'md5sum -c /db/sum; cat /own /unnamed/f; test -e /etc/shadow || echo gone; echo $SECRET';
    expect(lines(await good('exec', 'app', 'sh', '-c', look))).toEqual(['/db/data: OK', '1', 'gone', 'nobody', 'own']);
    // The volume that nobody has named goes with its container again.
    await good('rm', '-fv', 'app');
    expect(await volumes()).toEqual(['db', 'logs']);
    await good('network', 'rm', 'inner');
    rmSync(place, { recursive: true });
  });

  it('is restored beside what is there under another name, from a tar, whole or not at all', async () => {
    const place = join(stack.paths.stateDir, 'backups');
    const tar = join(stack.paths.stateDir, 'backup.tar');
    const file = join(stack.paths.stateDir, 'put');
    writeFileSync(file, 'content');
    await good('create', '--name', 'app', '-v', 'data:/data', 'busybox', 'true');
    await good('create', '--name', 'web', '--link', 'app:db', 'busybox', 'true');
    for (const path of ['/data/f', '/own']) await good('cp', file, `app:${path}`);
    await backedUp('create', '--to', place);
    const { command, env } = stack.vicMachineCommand('backup', 'create', '--name', 'test', '--to', '-');
    expect(await run('sh', ['-c', 'exec "$@" > "$0"', tar, ...command], { env })).toMatchObject({ code: 0 });
    // What is there is left alone.
    const taken = await backup('restore', '--from', place);
    expect(taken.stderr).toMatch(/there is a volume 'data' already; .*there is a container 'app' already/);
    await backedUp('restore', '--from', place, '--volume', 'data:data2', '--container', 'app:app2');
    await judge('data2');
    for (const path of ['/data/f', '/own']) expect(await fileOf('app2', path)).toBe('content');
    await good('rm', 'app', 'app2', 'web');
    await good('volume', 'rm', 'data', 'data2');

    const fromStdin = (bytes: Buffer, ...args: string[]): Promise<Outcome> => {
      const restore = stack.vicMachineCommand('backup', 'restore', '--name', 'test', '--from', '-', ...args);
      const [program, ...rest] = restore.command;
      return run(program, rest, { input: bytes, env: restore.env });
    };
    const whole = readFileSync(tar);
    const cut = await fromStdin(whole.subarray(0, whole.length / 2));
    expect(cut.stderr).toMatch(/the backup (cannot be read|is cut off)/);
    // It cannot be made without the container that it is linked to: what was made until then goes again.
    const failed = await fromStdin(whole, '--volume', 'data', '--container', 'web');
    expect(failed).toMatchObject({ code: 1, stderr: expect.stringContaining('app') });
    expect([stored(), await good('ps', '-aq')]).toEqual([[], '']);
    expect(await fromStdin(whole)).toMatchObject({ code: 0 });
    expect(await fileOf('app', '/data/f')).toBe('content');
    await good('rm', 'app', 'web');
    await good('volume', 'rm', 'data');

    // A damaged one is named, and nothing of it is restored.
    const [directory = ''] = readdirSync(join(place, 'chunks'));
    const [chunk = ''] = readdirSync(join(place, 'chunks', directory));
    truncateSync(join(place, 'chunks', directory, chunk), 20);
    const check = await backup('check', '--from', place);
    expect(check.code).toBe(1);
    expect(check.stdout).toContain(`chunk ${chunk.replace('.gz', '')} is damaged`);
    expect((await backup('restore', '--from', place)).stderr).toContain('is damaged, and nothing was restored');
    expect(stored()).toEqual([]);
    const [id = ''] = readdirSync(join(place, 'backups'));
    await backedUp('remove', '--from', place, '--backup', id.replace('.json', ''));
    expect(readdirSync(join(place, 'chunks')).flatMap((one) => readdirSync(join(place, 'chunks', one)))).toEqual([]);
    rmSync(place, { recursive: true });
    for (const one of [tar, file]) rmSync(one);
  });
});

describe('a volume store on an NFS server', () => {
  it('has a directory for each volume, which any number of containers share and any engine finds', async () => {
    const server = await startNfsServer();
    const at = (...parts: string[]): string => join(server.directory, 'store', ...parts);
    try {
      // What another engine has left there.
      for (const directory of ['volumes/found', 'volumes_metadata', 'volumes_removed/lost-0123456789ab/x'])
        mkdirSync(at(directory), { recursive: true });
      writeFileSync(at('volumes/found/f'), 'there\n');
      const record = { createdAt: '2026-01-02T03:04:05.000Z', driver: 'local', labels: { k: 'v' }, options: null };
      writeFileSync(at('volumes_metadata/found.json'), JSON.stringify(record));
      const store = ['--volume-store', `nfs://${server.address}/data/store:net`];
      const configured = await stack.vicMachine('configure', '--name', 'test', ...store);
      expect(configured).toMatchObject({ code: 0 });
      expect(JSON.parse(await good('volume', 'inspect', 'found'))).toMatchObject([
        { Labels: { k: 'v' }, Mountpoint: `nfs://${server.address}/data/store/volumes/found` },
      ]);
      await expect.poll(() => readdirSync(at('volumes_removed'))).toEqual([]);
      await good('volume', 'create', '-o', 'VolumeStore=net', '--label', 'a=b', 'shared');
      expect(readdirSync(at('volumes')).sort()).toEqual(['found', 'shared']);
      const refused = await stack.docker('volume', 'create', '-o', 'VolumeStore=net', '-o', 'Capacity=1g', 'sized');
      expect(refused.stderr).toContain('create sized: quota size requested but no quota support');
      const tree =
        'mkdir -p /tree/d/e /bare; echo a > /tree/f; ln /tree/f /tree/d/g; ln -s f /tree/l; chown 5:6 /tree /tree/f; chmod 750 /tree; touch /bare/f';
      await good('run', '--name', 'maker', 'busybox', 'sh', '-c', tree);
      await good('commit', 'maker', 'filler');
      await good('rm', 'maker');
      await good('volume', 'create', '-o', 'VolumeStore=net', 'bare');
      // Both start at once with an empty volume. They have the same host name, and yet are two clients for the server.
      const mounts = ['-v', 'shared:/tree', '-v', 'found:/f', '-v', 'bare:/bare:nocopy'];
      await Promise.all(
        ['one', 'two'].map((name) =>
          good('run', '-d', '--name', name, '--hostname', 'same', ...mounts, 'filler', 'sleep', '600'),
        ),
      );
      const show = 'cd /tree; stat -c "%a %u:%g" .; find . | sort; stat -c "%u:%g %h" f; ls -A /bare; cat /f/f';
      for (const name of ['one', 'two'])
        expect(await good('exec', name, 'sh', '-c', show)).toBe(
          '750 5:6\n.\n./d\n./d/e\n./d/g\n./f\n./l\n5:6 2\nthere',
        );
      expect(new Set(server.clients()).size).toBe(2);
      await good('exec', 'one', 'sh', '-c', 'echo written > /tree/f; mkdir -p /tree/a/b; touch /tree/a/b/c');
      expect(await good('exec', 'two', 'cat', '/tree/d/g')).toBe('written');
      const busy = await stack.docker('volume', 'rm', 'shared');
      expect(busy.stderr).toContain('remove shared: volume is in use');
      await good('rm', '-f', 'one', 'two');
      await good('volume', 'rm', 'shared', 'bare');
      expect([readdirSync(at('volumes')), readdirSync(at('volumes_metadata'))]).toEqual([['found'], ['found.json']]);
      expect(readdirSync(at('volumes_removed'))).toEqual([]);
      await good('rmi', 'filler');
      await good('volume', 'rm', 'found');
    } finally {
      await server.stop();
    }
  });
});
