/** `docker ps`: rows, filters, limits; and the words for filters that are none. */
import { type Case, ended, get, made, type Subject, sh, started } from '../case.js';

/** Rows of the API, by a label of the case so that other containers do not matter. */
const rows = (label: string, filters: Record<string, unknown>, query = 'all=1') =>
  get(`/containers/json?${query}&filters=${JSON.stringify({ label: [label], ...filters })}`, {
    only: ['Names', 'State'],
  });

const bad = (name: string, ...filters: string[]): Case => ({
  name,
  steps: filters.map((one) => get(`/containers/json?all=1&filters=${one}`, { only: [] })),
});

const labelled = (name: string, label: string, config: Record<string, unknown> = {}) =>
  made(name, { ...config, Labels: { [label]: '1', ...(config.Labels as object | undefined) } });

export const ps: Subject = {
  name: 'ps',
  cases: [
    {
      name: 'row of a created container',
      steps: [
        labelled('a', 'row-c', { Cmd: ['sh', '-c', 'echo "a b"'], ExposedPorts: { '80/tcp': {}, '53/udp': {} } }),
        get('/containers/json?all=1&filters={"label":["row-c"]}'),
        get('/containers/json?all=1&size=1&filters={"label":["row-c"]}'),
        get('/containers/json?filters={"label":["row-c"]}'),
      ],
    },
    {
      name: 'row of a running container',
      needsIpv6: true,
      steps: [
        labelled('a', 'row-r', {
          ExposedPorts: { '80/tcp': {}, '53/udp': {} },
          HostConfig: { PortBindings: { '80/tcp': [{ HostPort: '' }] } },
        }),
        started('a'),
        get('/containers/json?filters={"label":["row-r"]}'),
        sh(
          `docker ps --filter label=row-r --format '{{.Names}}|{{.Image}}|{{.Command}}|{{.Status}}|{{.Ports}}|{{.Labels}}|{{.Mounts}}|{{.Networks}}|{{.LocalVolumes}}'`,
        ),
      ],
    },
    {
      name: 'row of an exited container',
      steps: [
        labelled('a', 'row-e', { Cmd: ['sh', '-c', 'exit 3'], ExposedPorts: { '80/tcp': {} } }),
        started('a'),
        ended('a'),
        get('/containers/json?all=1&filters={"label":["row-e"]}'),
      ],
    },
    {
      name: 'row in older versions',
      steps: [
        labelled('a', 'row-v'),
        ...['1.24', '1.40', '1.41', '1.44', '1.46', '1.47', '1.48'].map((version) =>
          get('/containers/json?all=1&filters={"label":["row-v"]}', { version }),
        ),
      ],
    },
    {
      name: 'status, exited, name, id',
      steps: [
        labelled('one', 'st'),
        labelled('two', 'st', { Cmd: ['sh', '-c', 'exit 2'] }),
        labelled('three', 'st'),
        started('two'),
        started('three'),
        ended('two'),
        rows('st', {}),
        rows('st', {}, ''),
        rows('st', { status: ['created'] }, ''),
        rows('st', { status: ['exited', 'running'] }, ''),
        rows('st', { status: ['paused'] }),
        rows('st', { exited: ['2'] }, ''),
        rows('st', { exited: ['0'] }, ''),
        rows('st', { name: ['-one$'] }),
        rows('st', { name: ['^/dt-.*-t'] }),
        rows('st', { name: ['^dt-.*-t'] }),
        rows('st', { name: ['(one|two)$'] }),
        rows('st', { name: ['ONE'] }),
        rows('st', { name: ['nosuch', 'three'] }),
        rows('st', { id: ['zz'] }),
        rows('st', {}, 'limit=2'),
        rows('st', {}, 'limit=0'),
        rows('st', {}, 'limit=-1'),
        rows('st', { status: ['exited'] }, 'limit=1'),
        rows('st', { before: ['@two'] }),
        rows('st', { since: ['@two'] }),
        rows('st', { since: ['@one'], before: ['@three'] }),
      ],
    },
    {
      name: 'label',
      steps: [
        labelled('one', 'lb', { Labels: { colour: 'red', empty: '' } }),
        labelled('two', 'lb', { Labels: { colour: 'blue' } }),
        rows('lb', { label: ['lb', 'colour=red'] }),
        rows('lb', { label: ['lb', 'colour'] }),
        rows('lb', { label: ['lb', 'colour=red', 'colour=blue'] }),
        rows('lb', { label: ['lb', 'empty'] }),
        rows('lb', { label: ['lb', 'empty='] }),
        rows('lb', { label: { lb: true, 'colour=blue': true } }),
      ],
    },
    {
      name: 'ancestor',
      steps: [
        labelled('one', 'an'),
        labelled('two', 'an', { Image: 'dt/web' }),
        rows('an', { ancestor: ['dt/busybox'] }),
        rows('an', { ancestor: ['dt/busybox:latest'] }),
        rows('an', { ancestor: ['dt/web'] }),
        rows('an', { ancestor: ['dt/web', 'dt/busybox'] }),
        rows('an', { ancestor: ['nosuch'] }),
        sh(`docker ps -aq --filter label=an --filter ancestor=$(docker images -q dt/web) | wc -l`),
        sh(`docker ps -aq --filter label=an --filter ancestor=$(docker images -q --no-trunc dt/busybox) | wc -l`),
      ],
    },
    {
      name: 'expose and publish',
      steps: [
        labelled('one', 'ex', { ExposedPorts: { '80/tcp': {}, '53/udp': {} } }),
        labelled('two', 'ex', {
          ExposedPorts: { '90/tcp': {} },
          HostConfig: { PortBindings: { '90/tcp': [{ HostPort: '15090' }] } },
        }),
        labelled('three', 'ex'),
        rows('ex', { expose: ['80'] }),
        rows('ex', { expose: ['80/tcp'] }),
        rows('ex', { expose: ['53'] }),
        rows('ex', { expose: ['53/udp'] }),
        rows('ex', { expose: ['80-90/tcp'] }),
        rows('ex', { publish: ['90'] }),
        rows('ex', { publish: ['15090'] }),
        rows('ex', { publish: ['80-100'] }),
        started('two'),
        rows('ex', { publish: ['90'] }),
        rows('ex', { publish: ['15090/tcp'] }),
        rows('ex', { publish: ['15090/udp'] }),
        rows('ex', { expose: ['90'] }),
      ],
    },
    {
      name: 'network, health, is-task, isolation, volume',
      steps: [
        labelled('one', 'mx'),
        labelled('two', 'mx', { HostConfig: { NetworkMode: 'none' } }),
        rows('mx', { network: ['bridge'] }),
        rows('mx', { network: ['none'] }),
        rows('mx', { network: ['nosuch'] }),
        rows('mx', { network: ['brid'] }),
        rows('mx', { health: ['none'] }),
        rows('mx', { health: ['healthy'] }),
        rows('mx', { 'is-task': ['true'] }),
        rows('mx', { 'is-task': ['false'] }),
        rows('mx', { isolation: ['default'] }),
        rows('mx', { isolation: ['hyperv'] }),
        rows('mx', { volume: ['nosuch'] }),
        rows('mx', { volume: ['/data'] }),
        started('one'),
        rows('mx', { network: ['bridge'] }),
      ],
    },
    bad(
      'filters that are none',
      '{"nosuch":["1"]}',
      '{"status":["nosuch"]}',
      '{"health":["nosuch"]}',
      '{"exited":["x"]}',
      '{"is-task":["maybe"]}',
      '{"is-task":["true","false"]}',
      '{"expose":["x"]}',
      '{"publish":["80/xyz"]}',
      '{"publish":["90-80"]}',
      '{"before":["nosuch"]}',
      '{"since":["nosuch"]}',
      '{"name":["("]}',
      '{"label":"text"}',
      '{"label":',
      '[]',
      '"text"',
      'null',
      '{}',
      '{"label":null}',
      '{"label":{"x":false}}',
      '{"status":[]}',
      '{"status":[],"nosuch":[]}',
    ),
    {
      name: 'limits that are none',
      steps: [get('/containers/json?limit=x'), get('/containers/json?all=maybe&filters={"label":["none-at-all"]}')],
    },
  ],
};
