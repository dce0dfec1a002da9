/** `docker inspect` of containers: every field, in every state and version. */
import { type Case, del, ended, get, made, post, type Step, type Subject, sh, started } from '../case.js';

/** What `inspect` shows is posted back to `create`, twice, the old container away, as tools do it. */
function postedBack(
  name: string,
  config: Record<string, unknown>,
  { version, before = [], runs = true }: { version: string; before?: Step[]; runs?: boolean },
): Case {
  const running = runs ? [started('a')] : [];
  const again: Step[] = [
    ...running,
    get('/containers/@a/json', { version, keep: { seen: '' }, only: ['Config', 'HostConfig'] }),
    del('/containers/@a?force=1&v=1', { quiet: true }),
    post('/containers/create?name=%2F@a', undefined, { version, postedBack: 'seen' }),
  ];
  const last = get('/containers/@a/json', { version, only: ['Config', 'HostConfig', 'NetworkSettings'] });
  return {
    name: `posted back: ${name}`,
    steps: [...before, made('a', config), ...again, ...again, started('a'), last],
  };
}

export const inspect: Subject = {
  name: 'inspect',
  cases: [
    { name: 'created', steps: [made('a'), get('/containers/@a/json')] },
    { name: 'running', steps: [made('a'), started('a'), get('/containers/@a/json')] },
    {
      name: 'exited',
      steps: [made('a', { Cmd: ['sh', '-c', 'exit 3'] }), started('a'), ended('a'), get('/containers/@a/json')],
    },
    { name: 'size', steps: [made('a'), get('/containers/@a/json?size=1', { only: ['SizeRw', 'SizeRootFs', 'Name'] })] },
    {
      name: 'full configuration',
      steps: [
        made('a', {
          Hostname: 'box',
          Domainname: 'example.com',
          User: 'www-data',
          AttachStdout: true,
          ExposedPorts: { '80/tcp': {} },
          Tty: true,
          OpenStdin: true,
          StdinOnce: true,
          Env: ['A=1', 'B='],
          Cmd: ['sleep', '10'],
          Entrypoint: ['env'],
          WorkingDir: '/var',
          Labels: { k: 'v' },
          StopSignal: 'SIGUSR1',
          StopTimeout: 3,
          HostConfig: {
            Memory: 134217728,
            NanoCpus: 1000000000,
            Dns: ['9.9.9.9'],
            DnsSearch: ['example.com'],
            DnsOptions: ['ndots:2'],
            ExtraHosts: ['h:1.2.3.4'],
            GroupAdd: ['33'],
            ReadonlyRootfs: true,
            ShmSize: 8388608,
            Sysctls: { 'net.ipv4.ip_forward': '1' },
            Ulimits: [{ Name: 'nofile', Soft: 10, Hard: 20 }],
            PortBindings: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '15080' }, { HostPort: '15081' }] },
            AutoRemove: true,
            ConsoleSize: [24, 80],
          },
        }),
        get('/containers/@a/json'),
      ],
    },
    {
      name: 'published ports',
      steps: [
        made('a', {
          ExposedPorts: { '80/tcp': {}, '81/tcp': {} },
          HostConfig: { PortBindings: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '15082' }] } },
        }),
        started('a'),
        get('/containers/@a/json', { only: ['NetworkSettings', 'HostConfig'] }),
        sh('docker port @a'),
        sh('docker port @a 80'),
        sh('docker port @a 99'),
      ],
    },
    {
      name: 'no network',
      steps: [
        made('a', { HostConfig: { NetworkMode: 'none' } }),
        started('a'),
        get('/containers/@a/json', { only: ['NetworkSettings', 'HostConfig'] }),
      ],
    },
    {
      name: 'another image',
      steps: [made('a', { Image: 'dt/web', Cmd: null }), get('/containers/@a/json')],
    },
    {
      name: 'a failed start',
      steps: [
        made('a', { Cmd: ['/nosuch'] }),
        { ...started('a'), quiet: false },
        get('/containers/@a/json', { only: ['State', 'Path', 'Args', 'RestartCount'] }),
      ],
    },
    {
      name: 'older versions',
      steps: [
        made('a'),
        started('a'),
        ...['1.24', '1.30', '1.40', '1.43', '1.44', '1.46', '1.47', '1.48', '1.50'].map((version) =>
          get('/containers/@a/json', { version }),
        ),
      ],
    },
    postedBack(
      'ports, volumes, limits',
      {
        ExposedPorts: { '80/tcp': {}, '81/tcp': {}, '82/tcp': {} },
        Volumes: { '/data': {} },
        HostConfig: {
          PortBindings: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }], '81/tcp': null, '82/tcp': [] },
          RestartPolicy: { Name: 'always' },
          Memory: 134217728,
          PidsLimit: 100,
          Ulimits: [{ Name: 'nofile', Soft: 100, Hard: 200 }],
          Mounts: [{ Type: 'tmpfs', Target: '/t' }],
        },
      },
      // Docker may find a port taken by the container that it has just removed.
      { version: '1.25', runs: false },
    ),
    postedBack(
      'privileged, links',
      { HostConfig: { Privileged: true, Links: ['@b:db'] } },
      {
        version: '1.44',
        before: [made('b'), started('b')],
      },
    ),
    postedBack(
      'no network, another log driver',
      { OnBuild: ['RUN true'], HostConfig: { NetworkMode: 'none', Runtime: '', LogConfig: { Type: 'local' } } },
      { version: '1.51' },
    ),
    {
      name: 'by prefix and by name with a slash',
      steps: [
        made('a'),
        get('/containers/%2F@a/json', { only: ['Name'] }),
        sh(`docker inspect -f '{{.Name}}' $(docker inspect -f '{{printf "%.6s" .Id}}' @a)`),
        get('/containers/nosuch/json'),
        sh('docker inspect nosuch'),
      ],
    },
  ],
};
