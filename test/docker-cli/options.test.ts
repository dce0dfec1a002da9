/** Options of `docker run` that the container's guest carries out: a process in it sees the same as in Docker. */
import { readdirSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startMirroredStack } from '../support/mirrored-stack.js';
import type { Stack } from '../support/stack.js';

let stack: Stack;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  expect((await stack.docker('pull', 'busybox')).code).toBe(0);
});

afterAll(() => stack?.stop());

/** Runs a shell script in a new container. */
const sh = async (options: string[], script: string) =>
  stack.docker('run', '--rm', ...options, 'busybox', 'sh', '-c', script);

const inspect = async (name: string, format: string): Promise<unknown> =>
  JSON.parse((await stack.docker('inspect', '-f', `{{json ${format}}}`, name)).stdout);

describe('privileges', () => {
  it('of an ordinary container do not exceed Docker’s', async () => {
    const outcome = await sh(
      [],
      `grep Cap /proc/self/status
       mount -t tmpfs x /tmp || echo no mount
       unshare -Ur true || echo no user namespace
       mknod /tmp/disk b 254 0 && ! head -c 1 /tmp/disk && echo no disk
       mknod /tmp/null c 1 3 && echo > /tmp/null && echo null
       echo 1 > /proc/sys/vm/swappiness || echo read-only
       mkdir /sys/fs/cgroup/x || echo no cgroup
       umount /proc/sys || echo stays
       date -s @1700000000 > /dev/null 2>&1; test $(date +%Y) != 2023 && echo no clock
       ls /proc/acpi /sys/firmware | grep -v : | wc -w
       cat /proc/keys /proc/timer_list /proc/interrupts | wc -c`,
    );
    expect(outcome.stdout.replaceAll('\t', ' ').split('\n')).toEqual([
      'CapInh: 0000000000000000',
      'CapPrm: 00000000a80425fb',
      'CapEff: 00000000a80425fb',
      'CapBnd: 00000000a80425fb',
      'CapAmb: 0000000000000000',
      'no mount',
      'no user namespace',
      'no disk',
      'null',
      'read-only',
      'no cgroup',
      'stays',
      'no clock',
      '0',
      '0',
      '',
    ]);
  });

  it('can be added and dropped, and are never regained', async () => {
    const some = await sh(
      ['--cap-drop', 'ALL', '--cap-add', 'chown', '--security-opt', 'no-new-privileges'],
      'grep -E "CapEff|NoNewPrivs" /proc/self/status; chown 5 /tmp && echo chown; su www-data -s /bin/sh -c true || echo no su',
    );
    expect(some.stdout).toBe('CapEff:\t0000000000000001\nNoNewPrivs:\t1\nchown\nno su\n');
    const admin = await sh(
      ['--cap-add', 'SYS_ADMIN', '--cap-add', 'CAP_SYS_TIME'],
      'mount -t tmpfs x /tmp && echo mounted; date -s @1700000000 > /dev/null && date +%Y',
    );
    expect(admin.stdout).toBe('mounted\n2023\n');
    const unknown = await sh(['--cap-add', 'BOGUS'], 'true');
    expect(unknown.stderr).toContain('invalid CapAdd: unknown capability: "CAP_BOGUS"');
    expect(unknown.code).toBe(125);
  });

  it('are complete with --privileged, for an exec too', async () => {
    const outcome = await sh(
      ['--privileged'],
      `grep CapEff /proc/self/status
       mkdir /x && mount /dev/vda /x && test -e /x/bin/busybox && echo the disk
       echo 5 > /proc/sys/vm/swappiness && cat /proc/sys/vm/swappiness
       mkdir /sys/fs/cgroup/x && echo cgroup
       head -c 5 /proc/timer_list; echo
       test -c /dev/kmsg && echo kmsg
       unshare -m mount -t tmpfs x /tmp && echo namespace`,
    );
    expect(outcome.stdout).toBe('CapEff:\t000001ffffffffff\nthe disk\n5\ncgroup\nTimer\nkmsg\nnamespace\n');
    await stack.docker('run', '-d', '--name', 'plain', 'busybox', 'sleep', '600');
    const caps = async (...options: string[]) =>
      (await stack.docker('exec', ...options, 'plain', 'grep', '-E', 'CapEff|CapBnd', '/proc/self/status')).stdout;
    expect(await caps()).toBe('CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n');
    expect(await caps('-u', '1000')).toBe('CapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n');
    expect(await caps('--privileged')).toBe('CapEff:\t000001ffffffffff\nCapBnd:\t000001ffffffffff\n');
    const read = await stack.docker('exec', 'plain', 'sh', '-c', 'cat /proc/keys; echo 1 > /proc/sys/vm/swappiness');
    expect(read).toMatchObject({ stdout: '', code: 1 });
    await stack.docker('rm', '-f', 'plain');
    expect((await sh(['--security-opt', 'seccomp=unconfined'], 'unshare -Ur id -u')).stdout).toBe('0\n');
    expect((await sh(['--security-opt', 'systempaths=unconfined'], 'head -c 5 /proc/timer_list')).stdout).toBe('Timer');
  });
});

describe('--init', () => {
  it('forwards signals, reaps orphans and exits as its child does', async () => {
    const script = `trap "echo got; exit 4" TERM
      s=0.2; sh -c "sleep $s &"
      while ps -o stat,args | grep -qE 'slee[p] 0.2|^Z'; do sleep 0.1; done
      ps -o pid,stat,args; while :; do sleep 0.1; done`;
    await stack.docker('run', '-d', '--name', 'init', '--init', 'busybox', 'sh', '-c', script);
    await expect.poll(async () => (await stack.docker('logs', 'init')).stdout).toContain('STAT');
    const { stdout } = await stack.docker('logs', 'init');
    expect(stdout).toMatch(/^ +1 S +\/sbin\/docker-init -- sh -c /m);
    expect(stdout).not.toMatch(/^ *\d+ Z/m);
    expect((await stack.docker('stop', '-t', '8', 'init')).code).toBe(0);
    expect((await stack.docker('logs', 'init')).stdout).toContain('got');
    expect(await inspect('init', '.State.ExitCode')).toBe(4);
    expect(await inspect('init', '.HostConfig.Init')).toBe(true);
    expect(await inspect('init', '.Path')).toBe('sh');
    // A signal that is sent before it is ready is not lost.
    await stack.docker('start', 'init');
    await stack.docker('kill', '-s', 'USR1', 'init');
    expect((await stack.docker('wait', 'init')).stdout).toBe('138\n');
    await stack.docker('rm', 'init');
  });

  it('reports a command that cannot be run, and signals as exit codes', async () => {
    expect(await stack.docker('run', '--rm', '--init', 'busybox', 'nosuch')).toMatchObject({
      stderr: expect.stringMatching(/^\[FATAL tini \(\d+\)\] exec nosuch failed: No such file or directory\n$/),
      code: 127,
    });
    expect((await sh(['--init'], 'kill -9 $$')).code).toBe(137);
    // Signals from the terminal reach the foreground group, which is the child's.
    expect((await sh(['--init', '-t'], 'tty; kill -INT 1; sleep 5; echo late')).stdout).not.toContain('late');
  });
});

describe('filesystems', () => {
  it('in memory are as requested', async () => {
    const outcome = await sh(
      ['--tmpfs', '/a', '--tmpfs', '/b:size=4m,mode=700,uid=5,gid=6,exec', '--tmpfs', '/root', '--tmpfs', '/c/d:ro'],
      `grep -E ' /(a|b|root|c/d) ' /proc/mounts | cut -d' ' -f2-4
       stat -c '%n %a %u %g' /a /b /root
       dd if=/dev/zero of=/b/big bs=1M count=8 2>&1 | grep -c space
       rm /b/big; cp /bin/busybox /a/true; cp /bin/busybox /b/true; /a/true || echo noexec; /b/true && echo exec
       touch /c/d/x || echo ro`,
    );
    const lines = outcome.stdout.split('\n').map((line) => line.replace(',inode64', ''));
    expect(lines.slice(0, 4).sort()).toEqual([
      '/a tmpfs rw,nosuid,nodev,noexec,relatime',
      '/b tmpfs rw,nosuid,nodev,relatime,size=4096k,mode=700,uid=5,gid=6',
      '/c/d tmpfs ro,nosuid,nodev,noexec,relatime',
      '/root tmpfs rw,nosuid,nodev,noexec,relatime',
    ]);
    expect(lines.slice(4)).toEqual(['/a 1777 0 0', '/b 700 5 6', '/root 700 0 0', '1', 'noexec', 'exec', 'ro', '']);
    const bad = await sh(['--tmpfs', '/u:size=abc'], 'true');
    expect(bad.stderr).toContain('error mounting "tmpfs" to rootfs at "/u"');
    expect(bad.stderr).toContain('data: size=abc: invalid argument');
    expect((await sh(['--tmpfs', '/u:bogus'], 'true')).stderr).toContain('invalid tmpfs option "bogus"');
  });

  it('are read-only with --read-only, except those in memory', async () => {
    const outcome = await sh(
      ['--read-only', '--tmpfs', '/tmp', '-w', '/made/up', '--shm-size', '1m'],
      'pwd; for f in /x /etc/hosts /tmp/y /dev/shm/y; do touch $f 2> /dev/null && echo $f; done; df -k /dev/shm | tail -1 | tr -s " " | cut -d" " -f2',
    );
    expect(outcome.stdout).toBe('/made/up\n/tmp/y\n/dev/shm/y\n1024\n');
    expect((await sh(['--ipc', 'none'], 'ls /dev/shm')).code).toBe(1);
  });

  it('on disk are limited by --storage-opt size=', async () => {
    const outcome = await sh(
      ['--storage-opt', 'size=64m'],
      'dd if=/dev/zero of=/big bs=1M count=100 2>&1 | grep -c "No space"; test $(stat -c %s /big) -lt 67108864 && echo less',
    );
    expect(outcome.stdout).toBe('1\nless\n');
    expect((await sh(['--storage-opt', 'size=1000g'], 'true')).stderr).toContain('--storage-opt size=');
  });
});

describe('limits and names', () => {
  it('are set in the container’s cgroup', async () => {
    const outcome = await sh(
      ['--pids-limit', '6', '--cpus', '0.5', '--cpu-shares', '512', '-m', '64m', '--memory-reservation', '32m'],
      `cd /sys/fs/cgroup; cat pids.max cpu.max cpu.weight memory.max memory.low; nproc; cat /proc/self/cgroup
       for i in 1 2 3 4 5 6 7 8; do sleep 5 & done`,
    );
    expect(outcome.stdout).toBe('6\n50000 100000\n20\n67108864\n33554432\n1\n0::/\n');
    expect(outcome.stderr).toContain("can't fork: Resource temporarily unavailable");
  });

  it('in shares set the weight of the virtual machine', async () => {
    await stack.docker('run', '-d', '--name', 'light', '--cpus', '1', '--cpu-shares', '512', 'busybox', 'sleep', '600');
    const directory = join(stack.paths.runDir, 'vm');
    const levels = (): number[] =>
      readdirSync(directory)
        .filter((name) => name.endsWith('.pid'))
        .map((name) => JSON.parse(readFileSync(join(directory, name), 'utf8')) as { pid: number })
        .map(({ pid }) => getPriority(pid));
    expect(levels()).toContain(3);
    expect((await stack.docker('update', '--cpu-shares', '256', 'light')).code).toBe(0);
    expect(levels()).toContain(6);
    const weight = await stack.docker('exec', 'light', 'cat', '/sys/fs/cgroup/cpu.weight');
    expect(weight.stdout).toBe('10\n');
    await stack.docker('rm', '-f', 'light');
  });

  it('for processes, the kernel and groups take effect', async () => {
    const outcome = await sh(
      [
        ...['--ulimit', 'nofile=100:200', '--ulimit', 'core=-1', '--sysctl', 'net.core.somaxconn=99'],
        ...['--oom-score-adj', '100', '-u', '1000:7', '--group-add', '5', '--group-add', 'www-data'],
      ],
      'ulimit -n; ulimit -Hn; ulimit -c; cat /proc/sys/net/core/somaxconn /proc/self/oom_score_adj; id',
    );
    expect(outcome.stdout).toMatch(/^100\n200\nunlimited\n99\n100\nuid=1000 gid=7.* groups=.*\b5\b.*33\(www-data\)/);
    const missing = await sh(['--sysctl', 'net.bogus=0'], 'true');
    expect(missing.stderr).toContain('open /proc/sys/net/bogus: no such file or directory');
    const group = await sh(['--group-add', 'nosuch'], 'true');
    expect(group.stderr).toContain('daemon: unable to find group nosuch: no matching entries in group file');
  });

  it('for hosts, name servers and the MAC address take effect', async () => {
    const outcome = await sh(
      [
        ...['--hostname', 'h', '--domainname', 'example.org', '--mac-address', '02:42:ac:11:00:99'],
        ...['--add-host', 'a:1.2.3.4', '--add-host', 'gw:host-gateway', '--dns', '9.9.9.9', '--dns-search', '.'],
      ],
      `hostname -f; cat /proc/sys/kernel/domainname; cat /sys/class/net/eth0/address
       grep -E '\\b(a|h)$' /etc/hosts | cut -f2; grep -cE "^$(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p')\\sgw$" /etc/hosts
       grep -E 'nameserver|search' /etc/resolv.conf`,
    );
    expect(outcome.stdout.split('\n')).toEqual([
      'h.example.org',
      'example.org',
      '02:42:ac:11:00:99',
      'a',
      'h.example.org h',
      '1',
      'nameserver 9.9.9.9',
      '',
    ]);
    const plain = (await sh([], 'cat /etc/resolv.conf')).stdout;
    const merged = (await sh(['--dns-opt', 'ndots:3'], 'cat /etc/resolv.conf')).stdout;
    expect(merged).toContain('options ndots:3');
    expect(merged.match(/^nameserver.*$/gm)).toEqual(plain.match(/^nameserver.*$/gm));
  });

  it('of linked containers resolve to them, in execs too', async () => {
    const server = 'echo hi > /index.html; httpd -f -p 80 -h /';
    await stack.docker('run', '-d', '--name', 'target', '--expose', '80', 'busybox', 'sh', '-c', server);
    const script = 'until wget -qO- http://db/ 2> /dev/null; do sleep 0.2; done; echo $DB_PORT_80_TCP_PORT; sleep 600';
    await stack.docker('run', '-d', '--name', 'child', '--link', 'target:db', 'busybox', 'sh', '-c', script);
    await expect.poll(async () => (await stack.docker('logs', 'child')).stdout).toBe('hi\n80\n');
    const exec = await stack.docker('exec', 'child', 'sh', '-c', 'echo $DB_NAME; grep -c "db .* target" /etc/hosts');
    expect(exec.stdout).toBe('/child/db\n1\n');
    expect(await inspect('child', '.HostConfig.Links')).toEqual(['/target:/child/db']);
    await stack.docker('rm', '-f', 'child', 'target');
  });

  it('a terminal is the console', async () => {
    expect((await sh(['-t'], 'tty; test -c /dev/console && echo > /dev/console && echo console')).stdout).toBe(
      '/dev/pts/0\r\n\r\nconsole\r\n',
    );
  });

  it.each([
    [['--device', '/dev/null'], 'HostConfig.Devices is not implemented'],
    [['--gpus', 'all'], 'could not select device driver "" with capabilities: [[gpu]]'],
    [['--ipc', 'host'], "HostConfig.IpcMode 'host' is not implemented"],
    [['--pid', 'host'], "HostConfig.PidMode 'host' is not implemented"],
    [['--uts', 'host'], "HostConfig.UTSMode 'host' is not implemented"],
    [['--userns', 'host'], "HostConfig.UsernsMode 'host' is not implemented"],
    [['--device-cgroup-rule', 'c 1:3 mr'], 'HostConfig.DeviceCgroupRules is not implemented'],
    [['--device-read-bps', '/dev/x:1mb'], 'HostConfig.BlkioDeviceReadBps is not implemented'],
    [['--security-opt', 'apparmor=mine'], 'AppArmor profiles other than'],
  ])('%j is refused', async (options, message) => {
    const outcome = await sh(options, 'true');
    expect(outcome.stderr).toContain(message);
    expect(outcome.code).toBe(125);
  });
});
