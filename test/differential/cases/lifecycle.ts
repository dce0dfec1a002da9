/** Lives of containers: events in their order, restart policies, health, waiting, signals, pruning. */
import { ended, get, made, post, type ScriptStep, type Subject, sh, started } from '../case.js';

/** A script about the container `@box`, and the events of that container meanwhile. */
const watched = (script: string, options: { sorted?: boolean; without?: string } = {}): ScriptStep =>
  sh(
    [
      't=$(date +%s.%N)',
      `{ ${script}; } 2>&1`,
      'sleep 0.5',
      `docker events --since $t --until $(date +%s.%N) --filter type=container --filter container=@box --format '{{.Action}} {{json .Actor.Attributes}}' |`,
      `  grep -v '^${options.without ?? 'nothing'}' | sed 's/"execDuration":"[0-9]*"/"execDuration":"N"/'`,
    ].join('\n'),
    options.sorted === true ? { sorted: true } : {},
  );

const box = (command: string, options = ''): string =>
  `docker run -d --name @box ${options} dt/busybox ${command} >/dev/null`;
const trapping = `sh -c 'trap "exit 5" TERM; echo ready; while :; do sleep 0.1; done'`;
const ready = 'until docker logs @box | grep -q ready; do sleep 0.1; done';
/** Between the sixth restart and the seventh there are 6.4 s. */
const pausing =
  'until [ $(docker inspect -f {{.RestartCount}} @box) -ge 6 ] && [ $(docker inspect -f {{.State.Restarting}} @box) = true ]; do sleep 0.1; done';
const log0 = `'{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}'`;
const probed = `until docker inspect -f ${log0} @box >/dev/null 2>&1; do sleep 0.1; done`;
const health = (status: string): string =>
  `until [ $(docker inspect -f {{.State.Health.Status}} @box) = ${status} ]; do sleep 0.1; done`;

const execsEnded = (count: number): string =>
  `until [ $(docker events --since $t --until $(date +%s.%N) --filter container=@box --filter event=exec_die | wc -l) = ${count} ]; do sleep 0.1; done`;

const prunes = (what: string, filters: object[]) =>
  filters.map((one) => post(`/${what}/prune?filters=${JSON.stringify(one)}`));

export const lifecycle: Subject = {
  name: 'lifecycle',
  cases: [
    {
      name: 'events of a run and another',
      steps: [watched(`${box(`sh -c 'exit 2'`, '-l k=v')}; docker wait @box; docker start -a @box; docker rm @box`)],
    },
    { name: 'events of run --rm', steps: [watched('docker run --rm --name @box dt/busybox true')] },
    {
      name: 'events of a stop',
      steps: [
        watched(`${box(trapping)}; ${ready}; docker stop @box; docker stop @box; docker wait @box`, { sorted: true }),
      ],
    },
    {
      name: 'events of a stop by force',
      steps: [watched(`${box('sleep 600')}; docker stop -t 0 @box; docker wait @box`, { sorted: true })],
    },
    {
      name: 'events of a restart',
      steps: [
        watched(`${box(trapping)}; ${ready}; docker restart @box; docker rm -f @box`, { sorted: true }),
        watched(
          `docker create --name @box dt/busybox sleep 600 >/dev/null; docker restart @box; docker restart -t 0 @box`,
          {
            sorted: true,
          },
        ),
      ],
    },
    {
      name: 'events of a restart with --rm',
      steps: [
        watched(
          `${box(trapping, '--rm')}; ${ready}; docker restart @box; docker kill @box; while docker inspect @box >/dev/null 2>&1; do sleep 0.1; done; docker start @box`,
          {
            sorted: true,
          },
        ),
      ],
    },
    {
      name: 'events of signals',
      steps: [
        watched(
          `${box('sleep 600')}; for s in USR1 SIGHUP 10 sigwinch RTMIN+3 64 KILL; do docker kill -s $s @box; done; docker wait @box; docker kill @box`,
        ),
      ],
    },
    {
      name: 'events of a new name',
      steps: [
        made('other'),
        watched(
          `${box('sleep 600')}; docker rename @box @other; docker rename @box @box; docker rename @box '!'; docker rename @box @boxnew; docker rename @boxnew @box; docker rm -f @box`,
        ),
      ],
    },
    {
      name: 'events of execs',
      steps: [
        watched(
          `${box('sleep 600')}; docker exec @box true; docker exec -d @box sh -c 'exit 3'; ${execsEnded(2)}; docker exec @box nosuch; docker exec @box sh -c 'exit 4'; docker rm -f @box`,
        ),
      ],
    },
    {
      name: 'events of files',
      steps: [
        watched(
          `${box('sleep 600')}; docker cp @box:/etc/passwd - >/dev/null; tar c /etc/hostname 2>/dev/null | docker cp - @box:/tmp; docker export @box >/dev/null; docker diff @box >/dev/null; docker logs @box; docker rm -f @box`,
        ),
      ],
    },
    {
      name: 'events of a commit',
      steps: [
        watched(
          `${box('sleep 600')}; docker commit -m why -a me @box dt-lifecycle:1; docker rmi -f dt-lifecycle:1 >/dev/null; docker rm -f @box`,
        ),
      ],
    },
    {
      name: 'events of what cannot start',
      steps: [
        watched(`docker create --name @box dt/busybox nosuch >/dev/null; docker start @box; docker rm @box`),
        watched(`docker run --rm --name @box dt/busybox nosuch`),
      ],
    },
    {
      name: 'events of a terminal',
      steps: [
        watched(`${box('sleep 600', '-t')}; docker rm -f @box`),
        made('term', { Tty: true }),
        started('term'),
        post('/containers/@term/resize?h=20&w=30'),
        sh(
          `docker events --since 0 --until $(date +%s.%N) --filter container=@term --filter event=resize --format '{{.Action}} {{json .Actor.Attributes}}'`,
        ),
      ],
    },
    {
      name: 'a policy that gives up',
      steps: [
        watched(
          `${box(`sh -c 'exit 3'`, '--restart on-failure:2')}; until docker ps -a --filter name=@box --format '{{.Status}}' | grep Exited; do sleep 0.1; done; docker inspect -f '{{.RestartCount}} {{.State.Restarting}} {{json .HostConfig.RestartPolicy}}' @box; docker wait @box`,
        ),
        watched(`docker rm @box; ${box('true', '--restart on-failure')}; docker wait @box; sleep 1`),
      ],
    },
    {
      name: 'between two runs',
      steps: [
        sh(box(`sh -c 'exit 3'`, '--restart always')),
        sh(
          `${pausing}; docker ps -a --filter name=@box --format '{{.State}} {{.Status}}'; docker inspect -f '{{.State.Status}} {{.State.Running}} {{.State.Pid}} {{.State.ExitCode}}' @box; docker start @box; docker rm @box; docker exec @box true; docker attach @box`,
        ),
        sh(`${pausing}; docker stop @box; docker ps -a --filter name=@box --format '{{.Status}}'; docker rm @box`),
      ],
    },
    {
      name: 'what a user stopped or killed',
      steps: [
        watched(
          `${box('sleep 600', '--restart always')}; docker kill @box; docker wait @box; sleep 1; docker ps -q --filter name=@box`,
        ),
        watched(
          `docker start @box; docker exec @box kill -9 -1; docker kill -s TERM @box; docker stop -t 0 @box; sleep 1; docker inspect -f '{{.RestartCount}} {{.State.ExitCode}}' @box`,
          { sorted: true },
        ),
      ],
    },
    {
      name: 'policies that are none',
      steps: [
        sh(
          `for p in foo no:3 always:2 on-failure:x on-failure:-1 unless-stopped:1; do docker create --restart $p --name @box dt/busybox; docker rm -f @box; done 2>&1 | sed 's/^[0-9a-f]\\{64\\}$/ID/'`,
        ),
        sh('docker create --rm --restart always --name @box dt/busybox'),
      ],
    },
    {
      name: 'health, well and not',
      steps: [
        watched(
          `${box('sleep 600', `--health-cmd 'echo looked; test ! -e /sick' --health-interval 2s --health-retries 2`)}; docker ps --filter name=@box --format '{{.Status}}'; ${health('healthy')}; docker inspect -f ${log0} @box; docker ps --filter name=@box --filter health=healthy --format '{{.Status}}'; docker exec @box touch /sick; ${health('unhealthy')}; docker ps --filter name=@box --filter health=unhealthy --format '{{.Status}}'; docker inspect -f '{{json .Config.Healthcheck}}' @box`,
          { without: 'exec_' },
        ),
        sh(
          `docker kill @box >/dev/null; docker wait @box >/dev/null; docker inspect -f {{.State.Health.Status}} @box; docker ps -a --filter name=@box --filter health=none --format '{{.Status}}'`,
        ),
      ],
    },
    {
      name: 'health, by probes that fail',
      steps: [
        sh(
          `${box('sleep 600', `--health-cmd 'echo begun; sleep 9' --health-interval 200ms --health-timeout 700ms`)}; ${probed}; docker inspect -f ${log0} @box; docker rm -f @box`,
        ),
        sh(
          `${box('sleep 600', `--health-cmd 'head -c 5000 /dev/zero | tr "\\0" x; exit 7' --health-interval 200ms`)}; ${probed}; docker inspect -f ${log0} @box; docker rm -f @box`,
        ),
        made('none', { Healthcheck: { Test: ['CMD', 'nosuch', 'a'], Interval: 200_000_000, Retries: 1 } }),
        started('none'),
        sh(
          `until [ $(docker inspect -f {{.State.Health.Status}} @none) = unhealthy ]; do sleep 0.1; done; docker inspect -f ${log0} @none`,
        ),
      ],
    },
    {
      name: 'health checks of create',
      steps: [
        ...[{ Interval: 1 }, { Timeout: 999_999 }, { Retries: -1 }, { StartPeriod: -5 }, { StartInterval: 10 }].map(
          (Healthcheck) => post('/containers/create', { Image: 'dt/busybox', Healthcheck }, { only: [] }),
        ),
        sh(
          `for o in --no-healthcheck '--health-timeout 5s' '--health-start-period 1m --health-cmd true'; do docker create $o --name @box dt/busybox >/dev/null; docker inspect -f '{{json .Config.Healthcheck}}' @box; docker rm @box; done`,
        ),
        sh('docker create --no-healthcheck --health-cmd true dt/busybox'),
      ],
    },
    {
      name: 'waiting',
      steps: [
        made('box', { Cmd: ['sh', '-c', 'exit 6'] }),
        post('/containers/@box/wait'),
        post('/containers/@box/wait?condition=foo'),
        post('/containers/@gone/wait?condition=removed'),
        post('/containers/@box/wait?condition=next-exit', undefined, { cutAfterMs: 500 }),
        started('box'),
        ended('box'),
        post('/containers/@box/wait?condition=not-running'),
        post('/containers/@box/wait?condition='),
        sh('docker run -d --rm --name @two dt/busybox sleep 2 >/dev/null; docker wait @two; docker wait @box @gone'),
      ],
    },
    {
      name: 'verbs that do not apply',
      steps: [
        made('box'),
        ...['stop', 'stop?signal=FOO', 'kill', 'kill?signal=FOO', 'kill?signal=65', 'kill?signal=0'].map((verb) =>
          post(`/containers/@box/${verb}`),
        ),
        started('box'),
        ...['start', 'kill?signal=FOO', 'kill?signal=-1', 'kill?signal=RTMAX', 'rename', 'rename?name=@box'].map(
          (verb) => post(`/containers/@box/${verb}`),
        ),
        post('/containers/@box/stop?t=0'),
        post('/containers/@box/stop'),
      ],
    },
    {
      name: 'pruning',
      steps: [
        made('one', { Labels: { 'dt-prune': '1', more: 'x' } }),
        made('two', { Labels: { 'dt-prune': '2' } }),
        made('up', { Labels: { 'dt-prune': '1' } }),
        started('up'),
        ...prunes('containers', [
          { label: ['dt-prune'], until: ['1000'] },
          { label: ['dt-prune=1', 'more=y'] },
          { label: ['dt-prune'], 'label!': ['dt-prune=2', 'never'], until: ['5h'] },
          { label: { 'dt-prune=1': true } },
          { label: ['dt-prune'], 'label!': ['dt-prune=2'] },
        ]),
        sh(
          'docker container prune -f --filter label=dt-prune=2; docker ps -a --filter label=dt-prune --format {{.Names}}',
        ),
        ...prunes('containers', [{ foo: ['x'] }, { until: ['abc'] }, { until: ['1', '2'] }, { dangling: ['1'] }]),
        ...prunes('images', [{ foo: ['x'] }, { dangling: ['maybe'] }, { label: ['dt-no'] }]),
        ...prunes('networks', [{ foo: ['x'] }, { until: ['abc'] }, { label: ['dt-no'] }]),
        ...prunes('volumes', [{ foo: ['x'] }, { until: ['1h'] }, { label: ['dt-no'], all: ['1'] }]),
        ...prunes('build', [{ foo: ['x'] }, { until: ['abc'] }, { label: ['dt-no'] }]),
        post('/containers/prune?filters=xx'),
        sh('docker system prune -af --volumes --filter label=dt-no'),
      ],
    },
    {
      name: 'disk usage',
      steps: [
        get('/system/df', { only: ['Volumes', 'BuildCache'] }),
        get('/system/df?type=volume&type=build-cache'),
        get('/system/df?type=foo'),
        get('/system/df?type='),
        sh(
          `docker run --name @box dt/busybox sh -c 'head -c 2000000 /dev/zero > /x; ln -s a /y; ln /x /z; echo hi >> /etc/passwd; rm /etc/group'; docker inspect -s -f '{{.SizeRw}} {{.SizeRootFs}}' @box; docker ps -as --filter name=@box --format '{{.Size}}'; docker system df -v | grep @box | grep -o ' 2MB '`,
        ),
      ],
    },
  ],
};
