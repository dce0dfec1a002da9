/** Options that a process in the container sees: privileges, filesystems, limits, links; and how the wrong ones are refused. */
import { post, type Subject, sh } from '../case.js';

const run = (name: string, ...args: string[]) => ({ name, steps: args.map((rest) => sh(`docker run --rm ${rest}`)) });
const status = (fields: string): string => `grep -E '${fields}' /proc/self/status`;

/** Create bodies that are refused, each by one call. */
const refused = (name: string, ...bodies: object[]) => ({
  name,
  steps: bodies.map((body) => post('/containers/create?name=@a', { Image: 'dt/busybox', ...body })),
});
const hostRefused = (name: string, ...hosts: object[]) => refused(name, ...hosts.map((HostConfig) => ({ HostConfig })));

const cases: Subject['cases'] = [
  run(
    'capabilities',
    `dt/busybox ${status('Cap|NoNewPrivs')}`,
    `-u www-data --cap-add NET_ADMIN dt/busybox ${status('Cap')}`,
    `--cap-drop ALL --cap-add chown dt/busybox ${status('Cap')}`,
    `--cap-add NET_ADMIN --cap-drop CAP_CHOWN --cap-drop mknod dt/busybox ${status('Cap')}`,
    `--cap-add CHOWN --cap-drop CHOWN dt/busybox ${status('CapEff')}`,
    '--cap-add BOGUS dt/busybox true',
    '--cap-drop BOGUS dt/busybox true',
    '--cap-drop ALL dt/busybox chown 5 /tmp',
    '--cap-drop NET_RAW dt/busybox ping -c1 127.0.0.1',
  ),
  run(
    'security options',
    `--security-opt no-new-privileges dt/busybox ${status('NoNewPrivs')}`,
    `--security-opt no-new-privileges=false dt/busybox ${status('NoNewPrivs')}`,
    '--security-opt no-new-privileges:bogus dt/busybox true',
    '--security-opt bogus=1 dt/busybox true',
    `--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt label=disable dt/busybox ${status('Seccomp:')}`,
  ),
  run(
    'what is hidden or read-only',
    `dt/busybox sh -c 'cat /proc/keys /proc/timer_list /proc/interrupts | wc -c; ls -A /proc/acpi /sys/firmware'`,
    `dt/busybox sh -c 'echo 1 > /proc/sys/kernel/printk; mkdir /proc/bus/x /sys/x; mount -t tmpfs x /tmp; umount /proc/sys'`,
    `dt/busybox sh -c 'hostname x; ip link set lo down; dmesg | head -1; unshare -m true; unshare -U true'`,
    `dt/busybox sh -c 'mknod /tmp/disk b 1 0 && cat /tmp/disk; mknod /tmp/null c 1 3 && echo > /tmp/null && echo null'`,
    `--privileged dt/busybox sh -c 'head -c 10 /proc/timer_list; grep -cE " /(proc|sys)/(keys|sys|firmware|bus) " /proc/mounts'`,
    `--security-opt systempaths=unconfined dt/busybox sh -c 'head -c 10 /proc/timer_list; grep -c " /proc/" /proc/mounts'`,
  ),
  {
    name: 'privileges of execs',
    steps: [
      sh('docker run -d --name @a dt/busybox sleep 600', { quiet: true }),
      sh(`docker exec @a ${status('Cap|NoNewPrivs')}`),
      sh(`docker exec -u www-data @a sh -c "id; ${status('Cap')}"`),
      sh(`docker exec @a sh -c 'cat /proc/keys; echo 1 > /proc/sys/kernel/printk'`),
      sh('docker exec -u nobody-here @a true'),
      sh('docker exec -w /nosuch @a pwd'),
    ],
  },
  run(
    'init',
    '--init dt/busybox sh -c "exit 9"',
    `--init dt/busybox sh -c 'kill -9 $$'`,
    '--init dt/busybox nosuch 2>&1 | sed "s/([0-9]*)//"',
    '--init dt/busybox /etc/passwd 2>&1 | sed "s/([0-9]*)//"',
    `--init dt/busybox sh -c 'tr "\\0" " " < /proc/1/cmdline; echo; (sleep 0.1 &); sleep 1; ps -o stat,args | grep -c "^Z"'`,
    '--init -t dt/busybox tty',
  ),
  {
    name: 'init and signals',
    steps: [
      sh(`docker run -d --init --name @a dt/busybox sh -c 'trap "exit 4" TERM; while :; do sleep 0.1; done'`, {
        quiet: true,
      }),
      sh('sleep 1; docker stop -t 8 @a; docker inspect -f "{{.State.ExitCode}} {{.Path}} {{.HostConfig.Init}}" @a'),
      sh('docker start @a; docker kill -s USR1 @a; docker wait @a'),
      sh('docker diff @a'),
    ],
  },
  run(
    'filesystems in memory',
    `--tmpfs /a --tmpfs /b:size=1m,mode=700,uid=5,gid=6,exec --tmpfs /root --tmpfs /c/d:ro dt/busybox sh -c 'grep -E " /(a|b|c/d|root) " /proc/mounts | sed s/,inode64// | sort; stat -c "%n %a %u" /a /b /root'`,
    '--tmpfs /u:bogus dt/busybox true',
    '--tmpfs u dt/busybox true',
    '--tmpfs / dt/busybox true',
    `--tmpfs /a dt/busybox sh -c 'cp /bin/busybox /a/true; /a/true'`,
    '--tmpfs /etc dt/busybox ls -A /etc',
    `--read-only --tmpfs /tmp dt/busybox sh -c 'for f in /x /etc/hosts /tmp/y /dev/shm/y /dev/z; do touch $f; done'`,
    '--read-only -w /made/up dt/busybox pwd',
    '--ipc none dt/busybox ls /dev/shm',
  ),
  run(
    'limits of processes',
    `--pids-limit 6 dt/busybox sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; echo all'`,
    `--ulimit nofile=100:200 --ulimit core=-1 --ulimit nproc=50 dt/busybox sh -c 'ulimit -n; ulimit -Hn; ulimit -c; ulimit -u'`,
    '--oom-score-adj 100 dt/busybox cat /proc/self/oom_score_adj',
    '--group-add 5 --group-add www-data -u 1000:7 dt/busybox id',
    '--group-add nosuch dt/busybox id',
    '--sysctl net.core.somaxconn=99 --sysctl kernel.shmmax=100000 --sysctl fs.mqueue.msg_max=20 dt/busybox sysctl -n net.core.somaxconn kernel.shmmax fs.mqueue.msg_max',
    '--sysctl net.bogus=0 dt/busybox true',
    '--sysctl net.core.somaxconn=abc dt/busybox true',
  ),
  run(
    'names',
    '--hostname h --domainname example.org dt/busybox sh -c "hostname -f; dnsdomainname; grep h.ex /etc/hosts | cut -f2"',
    '--hostname h.x.y dt/busybox sh -c "hostname; grep h.x /etc/hosts | cut -f2; cat /proc/sys/kernel/domainname"',
    '--add-host c=::1 --add-host d:[::2] dt/busybox tail -n 3 /etc/hosts | head -2',
    '--add-host gw:host-gateway dt/busybox grep -c gw /etc/hosts',
    '--dns-search . --dns-opt ndots:2 dt/busybox grep -vE "^(#|$|nameserver)" /etc/resolv.conf',
    '--dns 127.0.0.1 --dns-search . dt/busybox grep -vE "^(#|$)" /etc/resolv.conf',
    '--mac-address 02:42:ac:11:00:99 dt/busybox cat /sys/class/net/eth0/address',
    '-t dt/busybox sh -c "tty; test -c /dev/console && echo console"',
  ),
  {
    name: 'links',
    steps: [
      sh('docker run -d --name @a --expose 80 --expose 53/udp -e FOO=bar dt/busybox sleep 600', { quiet: true }),
      sh(
        `docker run --rm --link @a:db dt/busybox sh -c 'env | grep ^DB_ | grep -v DB_NAME | sed "s/[0-9.]*:[0-9]*$/address/; s/ADDR=.*/ADDR/" | sort; grep -c "db .* @a" /etc/hosts'`,
      ),
      sh('docker create --name @b --link @a:db dt/busybox true', { quiet: true }),
      sh(
        `docker inspect -f '{{json .HostConfig.Links}}' @b; docker ps --no-trunc --format '{{.Names}}' --filter name=@a`,
      ),
      sh('docker stop -t 0 @a; docker start @b'),
      sh('docker run --rm --link nosuch dt/busybox true'),
    ],
  },
  hostRefused(
    'privileges that are none',
    { CapAdd: ['CAP_ALL'] },
    { CapDrop: [''] },
    { Annotations: { '': 'x' } },
    { IpcMode: 'bogus' },
    { PidMode: 'bogus' },
    { UTSMode: 'bogus' },
    { CgroupnsMode: 'bogus' },
    { Isolation: 'bogus' },
    { Runtime: 'bogus' },
    { Tmpfs: { u: '' } },
    { Tmpfs: { '/': '' } },
  ),
  hostRefused(
    'resources that are none',
    { CpuShares: -1 },
    { CpuQuota: 500 },
    { CpuQuota: 5000, CpuPeriod: 10 },
    { NanoCpus: 1e9, CpuQuota: 5000 },
    { NanoCpus: 1e9, CpuPeriod: 5000 },
    { NanoCpus: -1 },
    { MemoryReservation: 1 },
    { Memory: 32 << 20, MemoryReservation: 64 << 20 },
    { Memory: 32 << 20, MemorySwap: 16 << 20 },
    { MemorySwap: 16 << 20 },
    { MemorySwappiness: 200 },
    { MemorySwappiness: -5 },
    { CpusetMems: '9' },
    { CpusetMems: 'x' },
    { OomScoreAdj: 2000 },
    { ShmSize: -1 },
    { ExtraHosts: ['bogus'] },
    { ExtraHosts: ['a:999.1.1.1'] },
    { Links: ['nosuch'] },
  ),
  refused(
    'MAC addresses that are none',
    { MacAddress: 'bogus' },
    { NetworkingConfig: { EndpointsConfig: { bridge: { MacAddress: 'bogus' } } } },
    {
      MacAddress: '02:42:ac:11:00:77',
      NetworkingConfig: { EndpointsConfig: { bridge: { MacAddress: '02:42:ac:11:00:78' } } },
    },
  ),
  {
    name: 'platforms',
    steps: [
      post('/containers/create?platform=linux/arm64', { Image: 'dt/busybox' }),
      post('/containers/create?platform=bogus/x/y/z', { Image: 'dt/busybox' }),
      sh('docker run --rm --platform linux/amd64 dt/busybox uname -m'),
    ],
  },
];

export const options: Subject = { name: 'options', cases };
