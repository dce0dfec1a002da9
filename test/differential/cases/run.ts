/** `docker run` and its exit codes, outputs and settings as the process sees them. */
import { type Subject, sh } from '../case.js';

const run = (name: string, ...args: string[]) => ({ name, steps: args.map((rest) => sh(`docker run --rm ${rest}`)) });

const cases: Subject['cases'] = [
  run('output and exit code', `dt/busybox sh -c 'echo out; echo err >&2; exit 7'`),
  run('program of the image', 'dt/hello'),
  run('entrypoint of the image', 'dt/no-shell'),
  run('input', '-i dt/busybox cat </dev/null', `-i dt/busybox sh -c 'cat; echo end' <<EOF\nline\nEOF`),
  run(
    'commands that are not there',
    'dt/busybox nosuch',
    'dt/busybox /nosuch',
    'dt/busybox /etc/passwd',
    'dt/busybox /tmp',
  ),
  run('killed by a signal', `dt/busybox sh -c 'kill -9 $$'`, `dt/busybox sh -c 'sh -c "kill -TERM \\$\\$"; echo $?'`),
  run('environment', `-e A=1 -e B= -e A=2 dt/busybox env | grep -v HOSTNAME | sort`),
  run('directory', '-w /made/up dt/busybox pwd', '-w relative dt/busybox pwd', '-w /etc/passwd dt/busybox pwd'),
  run(
    'users',
    '-u www-data dt/busybox id',
    '-u 1234:5678 dt/busybox id',
    '-u nobody-here dt/busybox id',
    '-u root:nogroup-here dt/busybox id',
    '-u 33 --group-add extra --group-add 77 dt/busybox id',
    '-u daemon:www-data dt/busybox id',
  ),
  run('host name', '-h box dt/busybox hostname', '-h box --domainname example.com dt/busybox cat /etc/hostname'),
  run('entrypoint of its own', '--entrypoint echo dt/busybox a b', '--entrypoint "" dt/busybox echo c'),
  run('no network', '--network none dt/busybox ip -o -4 addr', '--network none dt/busybox cat /etc/hosts'),
  run('hosts file', '--add-host one:1.2.3.4 --add-host two:5.6.7.8 dt/busybox grep -E "one|two" /etc/hosts'),
  run(
    'name servers',
    '--dns 9.9.9.9 --dns-search example.com --dns-option ndots:3 dt/busybox grep -vE "^(#|$)" /etc/resolv.conf',
  ),
  run('read-only root', `--read-only dt/busybox sh -c 'touch /x; echo $?'`),
  run(
    'limits',
    `--ulimit nofile=100:200 dt/busybox sh -c 'ulimit -n; ulimit -Hn'`,
    `--ulimit nofile=200:100 dt/busybox true`,
  ),
  run('shared memory', `--shm-size 8m dt/busybox sh -c "df -k /dev/shm | tail -1 | awk '{print \\$2}'"`),
  run('sysctls', '--sysctl net.ipv4.ip_forward=0 dt/busybox cat /proc/sys/net/ipv4/ip_forward'),
  run('capabilities', 'dt/busybox grep Cap /proc/self/status'),
  run('file mode mask', 'dt/busybox sh -c umask'),
  run('devices', 'dt/busybox ls /dev | grep -v core'),
  run('mounts', `dt/busybox sh -c "cut -d' ' -f2 /proc/mounts | grep -vE 'cgroup|^/(proc|sys)/.|^/$' | sort"`),
  run('terminal', `-t dt/busybox sh -c 'test -t 1 && echo terminal; echo $TERM'`),
  {
    name: 'image that is not there',
    steps: [sh('docker run --pull never --rm dt/nosuch'), sh('docker run --pull never --rm dt/busybox:nosuch')],
  },
  {
    name: 'detached, then waited for',
    steps: [
      sh(`docker run -d --name @a dt/busybox sh -c 'echo one; exit 3' | wc -c`),
      sh('docker wait @a'),
      sh('docker logs @a'),
      sh(`docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}' @a`),
    ],
  },
  {
    name: 'name that is taken',
    steps: [
      sh('docker create --name @a dt/busybox true >/dev/null', { quiet: true }),
      sh('docker run --name @a dt/busybox true'),
    ],
  },
  {
    name: 'options that make no sense',
    steps: [
      sh('docker run --name "-bad" dt/busybox true'),
      sh('docker run -m 1m --name @memory dt/busybox true'),
      sh('docker run --cpus 1000 --name @cpus dt/busybox true'),
      sh('docker run --stop-signal NOSUCH --name @signal dt/busybox true'),
      sh('docker run --network nosuch --name @network dt/busybox true'),
      sh('docker run --rm -p 70000:80 dt/busybox true'),
      sh('docker run --log-driver nosuch --name @log dt/busybox true'),
      sh('docker run --runtime nosuch --name @runtime dt/busybox true'),
    ],
  },
];

export const runs: Subject = { name: 'run', cases };
