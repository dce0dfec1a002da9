/** Looking into containers, and changing what they may use: top, stats, pause, update, memory that runs out. */
import { del, get, made, post, type Subject, sh, started } from '../case.js';

const MIB = 2 ** 20;
/** A body of `update` for a container that has 64 MiB and half a processor. */
const update = (body: unknown): ReturnType<typeof post> => post('/containers/@a/update', body);
const top = (options: string): ReturnType<typeof get> =>
  get(`/containers/@a/top?ps_args=${encodeURIComponent(options)}`);

const cases: Subject['cases'] = [
  {
    name: 'a paused container',
    steps: [
      made('a'),
      started('a'),
      post('/containers/@a/unpause'),
      post('/containers/@a/pause'),
      post('/containers/@a/pause'),
      post('/containers/@a/start'),
      post('/containers/@a/exec', { Cmd: ['true'] }),
      del('/containers/@a'),
      get('/containers/json?filters={"status":["paused"],"name":["@a"]}', { only: ['Names', 'State'] }),
      sh("docker ps --filter name=@a --format '{{.Status}}' | sed 's/Up [^(]*/Up /'"),
      sh("docker inspect -f '{{.State.Status}} {{.State.Running}} {{.State.Paused}}' @a"),
      sh('docker exec @a true'),
      sh('docker attach @a'),
      sh('docker rm @a'),
      sh('docker pause @a'),
      sh('docker unpause @a'),
      sh("docker inspect -f '{{.State.Status}} {{.State.Running}} {{.State.Paused}}' @a"),
    ],
  },
  {
    name: 'a paused container is woken to end',
    steps: [
      made('a'),
      started('a'),
      sh('docker pause @a && docker kill @a && docker wait @a'),
      sh('docker start @a && docker pause @a && docker stop -t 1 @a'),
      sh("docker inspect -f '{{.State.Status}} {{.State.Paused}} {{.State.ExitCode}}' @a"),
      sh('docker start @a && docker pause @a && docker kill -s USR1 @a'),
      sh('docker pause @a && docker restart -t 0 @a'),
      sh("docker inspect -f '{{.State.Status}}' @a"),
      sh('docker pause @a && docker rm -f @a'),
    ],
  },
  {
    name: 'update',
    steps: [
      made('a', { HostConfig: { Memory: 64 * MIB, NanoCpus: 5e8 } }),
      started('a'),
      update({}),
      update({ Memory: 64 * MIB }),
      update({ Memory: 1000 }),
      update({ Memory: 1024 * MIB }),
      update({ MemorySwap: -1 }),
      update({ Memory: 50 * MIB, MemorySwap: 100 * MIB }),
      update({ CpuShares: 512 }),
      update({ CpuPeriod: 100_000, CpuQuota: 50_000 }),
      update({ CpuQuota: 50_000 }),
      update({ CpuPeriod: 10 }),
      update({ NanoCpus: 8e8 }),
      update({ NanoCpus: -1 }),
      update({ PidsLimit: 50 }),
      update({ CpusetCpus: 'x' }),
      update({ MemoryReservation: 5 }),
      update({ MemoryReservation: 32 * MIB }),
      update({ RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 3 } }),
      update({ RestartPolicy: { Name: 'bogus' } }),
      update({ RestartPolicy: { Name: 'always', MaximumRetryCount: 3 } }),
      update({ Bogus: 1 }),
      sh(
        "docker inspect -f '{{with .HostConfig}}{{.Memory}} {{.MemorySwap}} {{.MemoryReservation}} {{.CpuShares}} {{.NanoCpus}} {{.CpuQuota}} {{.PidsLimit}} {{json .RestartPolicy}}{{end}}' @a",
      ),
      sh('docker update -m 60m --memory-swap 120m @a'),
      sh('docker update --restart always @a nosuch-container'),
      sh("docker inspect -f '{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}' @a"),
    ],
  },
  {
    name: 'update of what does not run, or goes when it ends',
    steps: [
      made('a'),
      sh('docker update -m 64m @a'),
      sh('docker update -m 64m --memory-swap 64m --restart on-failure:2 @a'),
      sh('docker update --cpus 0.5 @a'),
      sh('docker update --cpu-quota 20000 @a'),
      sh("docker inspect -f '{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}}' @a"),
      made('b', { HostConfig: { AutoRemove: true } }),
      sh('docker update --restart always @b'),
      sh('docker update --restart no @b'),
    ],
  },
  {
    name: 'top: columns, and options that are none',
    steps: [
      made('a', { Cmd: ['sleep', '600'], User: 'root' }),
      started('a'),
      top('-o comm'),
      top('-o pid='),
      top('-bogus'),
      top('xyz'),
      top('--bogus'),
      top('-o pid,bogus'),
      top('-o'),
      top('--sort=bogus -o pid'),
      top('-y'),
      top('-k'),
      top('-o user=PIDX,pid'),
      sh('docker top @a -eo pid,args,ni | tr -s " " | sed "1!s/^[0-9]*/N/"'),
      sh('docker top @a | sed -n "1p;s/.* //p"'),
      sh('docker top @a aux | head -1'),
      sh('docker top @a -l | head -1'),
      sh('docker top @a -lf | head -1'),
      sh('docker top @a -F | head -1'),
      sh('docker top @a -j | head -1'),
      sh('docker top @a -jf | head -1'),
      sh('docker top @a l | head -1'),
      sh('docker top @a j | head -1'),
      sh('docker top @a ax | head -1'),
      sh('docker top @a -o pid,comm,stat,uid,gid,ni,pri,nlwp,cls,user,group | tr -s " " | sed "1!s/^[0-9]*/N/"'),
    ],
  },
  {
    name: 'stats of what does not run, and queries that make no sense',
    steps: [
      made('a'),
      get('/containers/@a/stats?stream=false'),
      get('/containers/@a/stats?stream=false&one-shot=true'),
      get('/containers/@a/stats?one-shot=true'),
      sh("docker stats --no-stream --format '{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}' @a"),
      sh('docker stats --no-stream nosuch-container'),
    ],
  },
  {
    name: 'memory that runs out',
    steps: [
      sh('docker run --name @a -m 64m dt/busybox dd if=/dev/zero of=/dev/null bs=200M count=1'),
      sh("docker inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}} {{.HostConfig.MemorySwap}}' @a"),
      sh(
        "docker run --name @b -m 64m dt/busybox sh -c 'dd if=/dev/zero of=/dev/null bs=200M count=1; echo $?; sleep 1'",
      ),
      sh("docker inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' @b"),
    ],
  },
  {
    name: 'nothing is killed for want of memory',
    steps: [
      post(
        '/containers/create?name=@a',
        { Image: 'dt/busybox', HostConfig: { OomKillDisable: true } },
        { only: ['Warnings'] },
      ),
      sh("docker inspect -f '{{.HostConfig.OomKillDisable}} {{.HostConfig.OomScoreAdj}} {{.HostConfig.Memory}}' @a"),
      post('/containers/@a/update', { OomKillDisable: true }),
      sh('docker run --name @b --oom-kill-disable -m 64m dt/busybox true'),
      sh("docker inspect -f '{{.State.OOMKilled}} {{.HostConfig.OomKillDisable}} {{.HostConfig.MemorySwap}}' @b"),
      sh('docker run --rm --oom-kill-disable dt/busybox true'),
    ],
  },
];

export const observe: Subject = { name: 'observe', cases };
