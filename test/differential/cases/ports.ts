/** Published ports: what is taken, shown, refused, and what becomes of them with the container. */
import { del, get, made, post, type Subject, sh } from '../case.js';
import { cleared } from './networks.js';

/** What a container asked for. */
const asked = (name: string) =>
  sh(
    `docker inspect -f '{{json .HostConfig.PortBindings}} {{.HostConfig.PublishAllPorts}} {{json .Config.ExposedPorts}}' @${name}`,
  );
const ports = (name: string) =>
  sh(
    `docker inspect -f '{{range $p, $b := .NetworkSettings.Ports}}{{$p}}{{range $b}} {{.HostIp}}:{{.HostPort}}{{end}}{{println}}{{end}}' @${name}; docker port @${name}`,
  );
const rows = (name: string) => sh(`docker ps -a --filter name=@${name} --format '{{.Ports}}'`);
const run = (name: string, options: string) => sh(`docker run -d --name @${name} ${options} dt/busybox sleep 600`);
const gone = (...names: string[]) =>
  sh(`docker rm -f ${names.map((name) => `@${name}`).join(' ')} >/dev/null 2>&1; true`, { quiet: true });

/** What `POST /containers/create` says of bindings. */
const bindings = (name: string, of: unknown, more: object = {}) =>
  post(`/containers/create?name=@${name}`, {
    Image: 'dt/busybox',
    Cmd: ['sleep', '600'],
    HostConfig: { PortBindings: of, ...more },
  });

/** The words of a failed connect, without the id in them. */
const connect = (network: string, name: string, options = '') =>
  sh(`docker network connect ${options} @${network} @${name}`);
const disconnect = (network: string, name: string) => sh(`docker network disconnect @${network} @${name}`);

export const publishedPorts: Subject = {
  name: 'ports',
  cases: [
    {
      name: 'forms',
      needsIpv6: true,
      steps: [
        gone('f'),
        run(
          'f',
          '-p 16001:80 -p 127.0.0.1:16002:80 -p 127.0.0.1:16001:53/udp -p 16010-16012:90-92 -p [::1]:16003:80 --expose 99',
        ),
        ports('f'),
        rows('f'),
        asked('f'),
        sh('docker port @f 80; docker port @f 53/udp; docker port @f 80/tcp'),
        sh('docker port @f 99'),
        sh('docker port @f 80/xx'),
        sh('docker port @f zz'),
        sh('docker port nosuch'),
        gone('f'),
      ],
    },
    {
      name: 'chosen by the engine',
      steps: [
        gone('c'),
        run('c', '-p 80 -p 127.0.0.1::81 -p 82/udp'),
        ports('c'),
        rows('c'),
        gone('c'),
        run('c', '-P --expose 70 --expose 71/udp -p 16020:70'),
        ports('c'),
        rows('c'),
        gone('c'),
      ],
    },
    {
      name: 'taken',
      steps: [
        gone('a', 'b'),
        run('a', '-p 127.0.0.1:16040:80'),
        run('b', '-p 127.0.0.1:16040:80'),
        get('/containers/@b/json', { only: ['State'] }),
        gone('b'),
        run('b', '-p 127.0.0.1:16040:80/udp'),
        gone('b'),
        run('b', '-p 127.0.0.2:16040:80'),
        gone('b'),
        gone('a', 'b'),
      ],
    },
    {
      name: 'taken, and free again',
      steps: [
        gone('a', 'b'),
        run('a', '-p 127.0.0.1:16045:80'),
        made('b', {
          ExposedPorts: { '80/tcp': {} },
          HostConfig: { PortBindings: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '16045' }] } },
        }),
        post('/containers/@b/start'),
        get('/containers/@b/json', { only: ['State'] }),
        sh('docker stop -t 0 @a', { quiet: true }),
        post('/containers/@b/start'),
        sh('docker start @a'),
        gone('a', 'b'),
      ],
    },
    {
      name: 'with the container',
      steps: [
        gone('w'),
        run('w', '-p 127.0.0.1:16050:80 --expose 99'),
        sh('docker stop -t 0 @w', { quiet: true }),
        ports('w'),
        rows('w'),
        asked('w'),
        sh('docker start @w', { quiet: true }),
        ports('w'),
        sh('docker pause @w', { quiet: true }),
        ports('w'),
        rows('w'),
        sh('docker unpause @w; docker restart -t 0 @w', { quiet: true }),
        ports('w'),
        sh('docker kill @w', { quiet: true }),
        ports('w'),
        gone('w'),
      ],
    },
    {
      name: 'without a network',
      steps: [
        gone('n'),
        run('n', '--network none -p 16060:80 --expose 99'),
        ports('n'),
        rows('n'),
        gone('n'),
        run('n', '--network none -P --expose 99'),
        ports('n'),
        rows('n'),
        gone('n'),
      ],
    },
    {
      name: 'on networks',
      steps: [
        cleared('c', 'd', 'aa', 'bb', 'inner'),
        sh('docker network create @aa; docker network create @bb; docker network create --internal @inner', {
          quiet: true,
        }),
        run('c', '--network @bb -p 16080:80 -p 127.0.0.1:16081:81/udp --expose 99'),
        ports('c'),
        rows('c'),
        connect('aa', 'c'),
        ports('c'),
        disconnect('bb', 'c'),
        ports('c'),
        connect('inner', 'c'),
        ports('c'),
        disconnect('aa', 'c'),
        ports('c'),
        rows('c'),
        get('/containers/@c/json', { only: ['State'] }),
        run('d', '-p 16080:80'),
        connect('bb', 'c'),
        ports('c'),
        sh('docker rm -f @d', { quiet: true }),
        // The failed connect has left something of that network in the other engine, where it cannot be joined again.
        connect('aa', 'c', '--gw-priority 5'),
        ports('c'),
        disconnect('inner', 'c'),
        disconnect('aa', 'c'),
        ports('c'),
        rows('c'),
        cleared('c', 'd', 'aa', 'bb', 'inner'),
      ],
    },
    {
      name: 'on internal networks',
      steps: [
        cleared('c', 'inner', 'bb'),
        sh('docker network create @bb; docker network create --internal @inner', { quiet: true }),
        run('c', '--network @inner -p 16085:80 --expose 99'),
        ports('c'),
        rows('c'),
        connect('bb', 'c'),
        ports('c'),
        sh('docker stop -t 0 @c', { quiet: true }),
        disconnect('bb', 'c'),
        sh('docker start @c', { quiet: true }),
        ports('c'),
        cleared('c', 'inner', 'bb'),
      ],
    },
    {
      name: 'the address of a network',
      steps: [
        cleared('c', 'bb'),
        sh('docker network create -o com.docker.network.bridge.host_binding_ipv4=127.0.0.1 @bb', { quiet: true }),
        run('c', '--network @bb -p 16088:80 -p 0.0.0.0:16089:81'),
        ports('c'),
        rows('c'),
        cleared('c', 'bb'),
      ],
    },
    {
      name: 'bindings of the API',
      steps: [
        gone('b'),
        ...[
          { '80/tcp': [{ HostPort: 'abc' }] },
          { '80/tcp': [{ HostPort: '70000' }] },
          { '80/tcp': [{ HostPort: '9-8' }] },
          { 'x/tcp': [{ HostPort: '16070' }] },
          { '80-81/tcp': [{ HostPort: '16070' }] },
          { '70000/tcp': [{ HostPort: '16070' }] },
          { '80': [{ HostPort: '16070' }] },
          { '80/TCP': [{ HostPort: '16070' }] },
        ].flatMap((of) => [bindings('b', of), del('/containers/@b?force=1')]),
        gone('b'),
      ],
    },
    {
      name: 'what the CLI refuses',
      steps: [
        sh('docker run --rm -p 8090-8091:80-82 dt/busybox true'),
        sh('docker run --rm -p 8090:80-81 dt/busybox true'),
        sh('docker run --rm -p :80:80:80 dt/busybox true'),
        sh('docker run --rm -p 1.2.3.4.5:80:80 dt/busybox true'),
        sh('docker run --rm --expose x dt/busybox true'),
      ],
    },
  ],
};
