/** `docker logs`. */
import { ended, get, made, type Subject, sh, started } from '../case.js';

const SCRIPT = 'echo one; echo two >&2; printf three';

export const logs: Subject = {
  name: 'logs',
  cases: [
    {
      name: 'of two streams',
      steps: [
        made('a', { Cmd: ['sh', '-c', SCRIPT] }),
        get('/containers/@a/logs?stdout=1'),
        started('a'),
        ended('a'),
        get('/containers/@a/logs?stdout=1&stderr=1'),
        get('/containers/@a/logs?stdout=1'),
        get('/containers/@a/logs?stderr=1'),
        get('/containers/@a/logs?stdout=1&stderr=1&tail=1'),
        get('/containers/@a/logs?stdout=1&stderr=1&tail=0'),
        get('/containers/@a/logs?stdout=1&stderr=1&tail=all'),
        get('/containers/@a/logs?stdout=1&stderr=1&tail=-1'),
        get('/containers/@a/logs?stdout=1&timestamps=1&tail=2'),
        get('/containers/@a/logs?stdout=1&follow=1'),
        get('/containers/@a/logs?stdout=1&since=1'),
        get('/containers/@a/logs?stdout=1&since=4000000000'),
        get('/containers/@a/logs?stdout=1&until=1'),
        get('/containers/@a/logs?stdout=1&details=1'),
        get('/containers/@a/logs?stdout=1', { version: '1.41' }),
        get('/containers/@a/logs?stdout=1&since=1.5x'),
        get('/containers/@a/logs'),
        get('/containers/@a/logs?stdout=0&stderr=0'),
        sh('docker logs @a'),
        sh('docker logs -n 1 @a'),
        sh('docker logs --since nosuch @a'),
        sh('docker logs -t @a 2>/dev/null'),
      ],
    },
    {
      name: 'of a terminal',
      steps: [
        made('a', { Cmd: ['sh', '-c', SCRIPT], Tty: true }),
        started('a'),
        ended('a'),
        get('/containers/@a/logs?stdout=1&stderr=1'),
        get('/containers/@a/logs?stderr=1'),
        sh('docker logs @a'),
      ],
    },
    {
      name: 'without a log',
      steps: [
        made('a', { Cmd: ['sh', '-c', SCRIPT], HostConfig: { LogConfig: { Type: 'none' } } }),
        started('a'),
        ended('a'),
        get('/containers/@a/logs?stdout=1'),
        get('/containers/@a/json', { only: ['LogPath'] }),
      ],
    },
    {
      name: 'details',
      steps: [
        made('a', {
          Cmd: ['echo', 'x'],
          Labels: { k: 'v' },
          Env: ['E=1'],
          HostConfig: { LogConfig: { Type: 'json-file', Config: { labels: 'k', env: 'E' } } },
        }),
        started('a'),
        ended('a'),
        get('/containers/@a/logs?stdout=1&details=1'),
      ],
    },
    {
      name: 'options that are none',
      steps: [
        { Type: 'nosuch' },
        { Type: 'json-file', Config: { nosuch: '1' } },
        { Type: 'json-file', Config: { 'max-size': 'x' } },
        { Type: 'json-file', Config: { 'max-size': '10', 'max-file': '0' } },
        { Type: 'json-file', Config: { 'max-file': '2' } },
        { Type: 'local', Config: { 'max-size': '-1' } },
        { Type: 'none', Config: { mode: 'non-blocking' } },
      ].map((LogConfig, index) => ({
        method: 'POST',
        path: `/containers/create?name=@a${index}`,
        body: { Image: 'dt/busybox', Cmd: ['true'], HostConfig: { LogConfig } },
      })),
    },
    {
      name: 'what options say is looked at when the container is started',
      steps: [
        ...[
          '--log-opt max-size=x',
          '--log-opt max-file=0',
          '--log-opt compress=x',
          '--log-opt compress=true',
          "--log-opt 'labels-regex=('",
          "--log-opt 'tag={{.X}}'",
          '--log-driver local --log-opt max-file=1',
          '--log-driver syslog --log-opt syslog-address=tcp://127.0.0.1:9',
          '--log-driver syslog --log-opt syslog-address=udp://127.0.0.1:9999999',
          '--log-driver syslog --log-opt syslog-address=tcp+tls://127.0.0.1:9 --log-opt syslog-tls-ca-cert=/nosuch',
          '--log-driver syslog --log-opt syslog-address=tcp+tls://127.0.0.1:9 --log-opt syslog-tls-cert=/nosuch',
        ].flatMap((options, index) => [
          sh(`docker run --name @a${index} ${options} dt/busybox true`),
          sh(`docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}' @a${index}`),
        ]),
        ...[
          '--log-driver syslog --log-opt syslog-address=bogus://x',
          '--log-driver syslog --log-opt syslog-address=unix:///nosuch',
          '--log-driver syslog --log-opt syslog-facility=bogus',
          '--log-driver syslog --log-opt syslog-format=bogus',
          '--log-driver syslog --log-opt cache-disabled=x',
          '--log-driver syslog --log-opt max-size=1m',
          '--log-opt mode=x',
          '--log-opt max-buffer-size=1m',
          '--log-opt mode=non-blocking --log-opt max-buffer-size=x',
        ].map((options) => sh(`docker create --name @b ${options} dt/busybox true`)),
      ],
    },
    {
      name: 'over several runs',
      steps: [
        made('a', { Cmd: ['sh', '-c', 'echo run'] }),
        started('a'),
        ended('a'),
        started('a'),
        ended('a'),
        get('/containers/@a/logs?stdout=1'),
      ],
    },
  ],
};
