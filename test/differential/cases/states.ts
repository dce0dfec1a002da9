/** Start, stop, kill, restart, pause, rename, wait, update, remove; prune. */
import { type CallStep, del, ended, get, made, post, type ScriptStep, type Subject, sh, started } from '../case.js';

const state = (name: string): CallStep => get(`/containers/@${name}/json`, { only: ['State', 'RestartCount', 'Name'] });
/** Obeys SIGTERM; SIGUSR1 makes it end with 9. */
const OBEYS = {
  Cmd: ['sh', '-c', 'trap "exit 3" TERM; trap "exit 9" USR1; echo ready; while true; do sleep 0.05; done'],
};

/** Waits until the traps are set. */
const ready = (name: string): ScriptStep =>
  sh(`until docker logs @${name} | grep -q ready; do sleep 0.1; done`, { quiet: true });

export const states: Subject = {
  name: 'states',
  cases: [
    {
      name: 'start and stop',
      steps: [
        made('a', OBEYS),
        post('/containers/@a/start'),
        post('/containers/@a/start'),
        ready('a'),
        post('/containers/@a/stop?t=5'),
        post('/containers/@a/stop'),
        state('a'),
        post('/containers/@a/wait'),
        post('/containers/@a/start'),
        state('a'),
      ],
    },
    {
      name: 'stop of what does not obey',
      steps: [made('a', { Cmd: ['sleep', '600'] }), started('a'), post('/containers/@a/stop?t=1'), state('a')],
    },
    {
      name: 'stop with a signal',
      steps: [
        made('a', OBEYS),
        started('a'),
        ready('a'),
        post('/containers/@a/stop?t=5&signal=SIGUSR1'),
        state('a'),
        post('/containers/@a/stop?signal=NOSUCH'),
        post('/containers/@a/stop?t=x'),
      ],
    },
    {
      name: 'kill',
      steps: [
        made('a', { Cmd: ['sleep', '600'] }),
        started('a'),
        post('/containers/@a/kill?signal=NOSUCH'),
        post('/containers/@a/kill?signal=0'),
        post('/containers/@a/kill?signal=65'),
        post('/containers/@a/kill?signal=USR1x'),
        post('/containers/@a/kill?signal=WINCH'),
        post('/containers/@a/kill'),
        ended('a'),
        state('a'),
        post('/containers/@a/kill'),
      ],
    },
    {
      name: 'restart',
      steps: [
        made('a', { Cmd: ['sleep', '600'] }),
        post('/containers/@a/restart?t=0'),
        state('a'),
        post('/containers/@a/restart?t=0'),
        state('a'),
        post('/containers/@a/restart?t=x'),
      ],
    },
    {
      name: 'pause',
      steps: [
        made('a', { Cmd: ['sleep', '600'] }),
        started('a'),
        post('/containers/@a/unpause'),
        post('/containers/@a/pause'),
        state('a'),
        post('/containers/@a/pause'),
        get('/containers/@a/top', { only: ['Titles'] }),
        post('/containers/@a/exec', { Cmd: ['true'] }),
        post('/containers/@a/restart?t=0'),
        del('/containers/@a'),
        post('/containers/@a/unpause'),
        state('a'),
      ],
    },
    {
      name: 'rename',
      steps: [
        made('a'),
        made('b'),
        post('/containers/@a/rename?name=@b'),
        post('/containers/@a/rename?name=@c'),
        state('c'),
        get('/containers/@a/json'),
        post('/containers/@c/rename?name=/@a'),
        state('a'),
        post('/containers/@a/rename?name='),
        post('/containers/@a/rename?name=a/b'),
      ],
    },
    {
      name: 'wait',
      steps: [
        made('a', { Cmd: ['sh', '-c', 'exit 5'] }),
        post('/containers/@a/wait'),
        post('/containers/@a/wait?condition=not-running'),
        started('a'),
        post('/containers/@a/wait'),
        post('/containers/@a/wait?condition=next-exit', undefined, { cutAfterMs: 300 }),
        post('/containers/@a/wait?condition=removed', undefined, { cutAfterMs: 300 }),
      ],
    },
    {
      name: 'remove',
      steps: [
        made('a', { Cmd: ['sleep', '600'] }),
        started('a'),
        del('/containers/@a'),
        del('/containers/@a?force=1&v=1'),
        del('/containers/@a'),
        made('b'),
        del('/containers/@b?link=1'),
        del('/containers/@b'),
        get('/containers/@b/json'),
      ],
    },
    {
      name: 'update',
      steps: [
        made('a'),
        post('/containers/@a/update', { RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 3 } }),
        get('/containers/@a/json', { only: ['HostConfig'] }),
        post('/containers/@a/update', { RestartPolicy: { Name: 'nosuch' } }),
        post('/containers/@a/update', { Memory: 1 }),
        post('/containers/@a/update', {}),
        post('/containers/@a/update', '['),
      ],
    },
    {
      name: 'restart policies that are none',
      steps: [
        { RestartPolicy: { Name: 'nosuch' } },
        { RestartPolicy: { Name: 'always', MaximumRetryCount: 3 } },
        { RestartPolicy: { Name: 'on-failure', MaximumRetryCount: -1 } },
        { RestartPolicy: { Name: 'always' }, AutoRemove: true },
      ].map((HostConfig) => post('/containers/create?name=@a', { Image: 'dt/busybox', HostConfig })),
    },
    {
      name: 'restart on failure',
      steps: [
        made('a', {
          Cmd: ['sh', '-c', 'exit 4'],
          HostConfig: { RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 1 } },
        }),
        started('a'),
        sh(
          `until [ "$(docker inspect -f '{{.RestartCount}} {{.State.Status}}' @a)" = '1 exited' ]; do sleep 0.1; done`,
          { quiet: true },
        ),
        state('a'),
        get('/containers/@a/json', { only: ['RestartCount'] }),
      ],
    },
    {
      name: 'health',
      steps: [
        made('a', {
          Healthcheck: { Test: ['CMD-SHELL', 'echo well'], Interval: 300_000_000, Timeout: 5_000_000_000, Retries: 1 },
        }),
        started('a'),
        sh(`until docker inspect -f '{{.State.Health.Status}}' @a | grep -q '^healthy'; do sleep 0.1; done`, {
          quiet: true,
        }),
        sh(
          `docker inspect -f '{{.State.Health.Status}} {{.State.Health.FailingStreak}} {{(index .State.Health.Log 0).Output}}' @a`,
        ),
        sh(`docker ps --filter name=@a --format '{{.Status}}'`),
        post('/containers/create?name=@b', { Image: 'dt/busybox', Healthcheck: { Test: ['CMD', 'x'], Interval: 1 } }),
        post('/containers/create?name=@b', { Image: 'dt/busybox', Healthcheck: { Test: ['NOSUCH'] } }),
      ],
    },
    {
      name: 'prune',
      steps: [
        post('/containers/prune?filters={"label":["dt-nothing-has-this"]}'),
        post('/containers/prune?filters={"nosuch":["x"]}'),
        post('/containers/prune?filters={"until":["x"]}'),
        post('/containers/prune?filters={'),
      ],
    },
    {
      name: 'top',
      steps: [
        made('a', { Cmd: ['sleep', '600'] }),
        started('a'),
        sh('docker top @a -o pid,comm | tail -1 | tr -s " " | cut -d" " -f2'),
        sh('docker top @a | head -1 | tr -s " "'),
        sh('docker top @a -o nosuch'),
        get('/containers/@a/top?ps_args=-o%20comm'),
        get('/containers/@a/top?ps_args=aux', { only: ['Titles'] }),
      ],
    },
    {
      name: 'stats',
      steps: [
        made('a', { Cmd: ['sleep', '600'] }),
        get('/containers/@a/stats?stream=0', {
          only: ['name', 'id', 'read', 'preread', 'num_procs', 'pids_stats', 'cpu_stats', 'memory_stats'],
        }),
        started('a'),
        get('/containers/@a/stats?stream=0&one-shot=1', {
          only: ['name', 'id', 'preread', 'num_procs', 'storage_stats'],
        }),
        get('/containers/@a/stats?stream=1&one-shot=1'),
      ],
    },
  ],
};
