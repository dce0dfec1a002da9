/** What a process finds that a user starts: its streams, its environment and its arguments. */
import { get, made, post, type Subject, sh, started } from '../case.js';

const NAMES = 'echo out > /dev/stdout; echo err > /dev/stderr; stat -Lc "%u %g %a" /dev/stdin /dev/stdout /dev/stderr';
export const firstProcess: Subject = {
  name: 'first-process',
  cases: [
    {
      name: 'streams of a user',
      steps: [
        sh(`docker run --rm -u 1000 dt/busybox sh -c '${NAMES}'`),
        sh(`echo in | docker run --rm -i -u www-data dt/busybox sh -c 'cat /dev/stdin; ${NAMES}'`),
        sh(
          `docker run --rm -t -u 1000:55 dt/busybox sh -c 'echo x > /dev/stdout; stat -c "%u %g %a" $(tty) /dev/console'`,
        ),
        sh(`docker run --rm dt/busybox sh -c 'su -s /bin/sh www-data -c "echo x > /dev/stdout"'`),
        made('a', { User: '1000' }),
        started('a'),
        sh(`docker exec @a sh -c '${NAMES}; echo log > /proc/1/fd/1'`),
        sh(`docker exec -u 77 @a sh -c '${NAMES}; echo log > /proc/1/fd/1'`),
        sh(`docker exec -t @a sh -c 'echo x > $(tty); stat -c "%u %g %a" $(tty)'`),
        sh('docker logs @a'),
      ],
    },
    {
      name: 'environments and arguments near the limits',
      steps: [
        sh(`docker run --rm -e A=$(head -c 120000 /dev/zero | tr '\\0' a) dt/busybox sh -c 'echo \${#A}'`),
        sh(
          `seq -f 'V%g='$(head -c 300 /dev/zero | tr '\\0' v) 3000 > /tmp/@env && docker run --rm --env-file /tmp/@env dt/busybox sh -c 'env | grep -c ^V'; rm /tmp/@env`,
        ),
        // The CLI keeps them in a Go map: their order is another each time.
        sh(
          `docker run --rm -e a.b-c=1 -e X=1=2 -e E= -e "N=line1\nline2" -e 'U=ü😀' dt/busybox env | grep -v HOSTNAME | LC_ALL=C sort`,
        ),
        made('a', { Env: [`A=${'a'.repeat(140_000)}`], Cmd: ['true'] }),
        sh('docker start -a @a'),
        made('b', { Cmd: ['echo', 'a\0b'] }),
        sh('docker start -a @b'),
        made('c', { Env: ['A=a\0b'], Cmd: ['env'] }),
        sh('docker start -a @c'),
        made('d'),
        started('d'),
        post('/containers/@d/exec', { Cmd: ['env'], Env: ['=x'], AttachStdout: true }, { keep: { id: 'Id' } }),
        post('/exec/{id}/start', {}),
        get('/exec/{id}/json', { only: ['ExitCode'] }),
      ],
    },
  ],
};
