/** Lists of images: filters, older versions, and what the CLI shows. */
import { type CallStep, get, made, post, type Subject, sh } from '../case.js';
import { gone, small } from './image-kit.js';

const ROW = { only: ['RepoTags', 'RepoDigests', 'Labels', 'Containers', 'SharedSize'] };
/** The list with these filters, the list's own images only. */
const listed = (filters: object): CallStep =>
  get(`/images/json?filters=${encodeURIComponent(JSON.stringify(filters))}`, ROW);

const A = { tags: ['dt/la:1', 'dt/la:two', 'dt/sub/la:1'], layers: ['la'], labels: { 'dt-l': 'a', tier: 'web' } };
const B = { tags: ['dt/lb:1'], layers: ['la', 'lb'], created: '2021-01-02', labels: { 'dt-l': 'b' } };
const C = {
  tags: ['localhost:1/dt/lc:1', 'dt-lc:v1'],
  layers: ['la', 'lc'],
  created: '2022-01-02',
  labels: { 'dt-l': '' },
};
const NAMES = [...A.tags, ...B.tags, ...C.tags];

export const imageList: Subject = {
  name: 'image-list',
  cases: [
    {
      name: 'filters',
      steps: [
        gone(...NAMES),
        small(A, B, C),
        listed({ label: ['dt-l'] }),
        listed({ label: ['dt-l=a'] }),
        listed({ label: ['dt-l', 'tier=web'] }),
        listed({ label: ['dt-l', 'tier=nosuch'] }),
        listed({ label: { 'dt-l=': true } }),
        listed({ label: ['dt-l'], 'label!': ['tier'] }),
        listed({ label: ['dt-l'], before: ['dt/lb:1'] }),
        listed({ label: ['dt-l'], since: ['dt/lb:1'] }),
        listed({ label: ['dt-l'], since: ['dt/la:1'], before: ['dt-lc:v1'] }),
        listed({ label: ['dt-l'], before: ['dt-lc:v1', 'dt/lb:1'] }),
        listed({ label: ['dt-l'], since: ['dt/la:1', 'dt/lb:1'] }),
        listed({ label: ['dt-l'], since: ['dt/nosuch'] }),
        listed({ since: ['UPPER'] }),
        listed({ label: ['dt-l'], until: ['2021-06-01'] }),
        listed({ label: ['dt-l'], until: ['24h'] }),
        listed({ label: ['dt-l'], until: ['1577934245'] }),
        listed({ label: ['dt-l'], until: ['2021-06-01', '2020-06-01'] }),
        listed({ label: ['dt-l'], until: ['2021-06-01'], before: ['dt/lb:1'] }),
        listed({ until: ['x'] }),
        listed({ label: ['dt-l'], dangling: ['false'] }),
        listed({ label: ['dt-l'], dangling: ['true'] }),
        listed({ label: ['dt-l'], dangling: ['0'] }),
        listed({ label: ['dt-l'], dangling: ['True'] }),
        listed({ label: ['dt-l'], dangling: [] }),
        gone(...NAMES),
      ],
    },
    {
      name: 'references',
      steps: [
        gone('dt/ra:1', 'dt/ra:2', 'dt/sub/ra:1', 'dt-ra:1', 'localhost:1/dt/ra:1', 'dt-rb:1'),
        small(
          {
            tags: ['dt/ra:1', 'dt/ra:2', 'dt/sub/ra:1', 'dt-ra:1', 'localhost:1/dt/ra:1'],
            layers: ['ra'],
            labels: { 'dt-r': '' },
          },
          { tags: ['dt-rb:1'], layers: ['rb'], labels: { 'dt-r': '' } },
        ),
        ...[
          'dt/ra',
          'dt/ra:2',
          'dt/*',
          'dt/*/ra',
          '*/ra:1',
          '*/*/ra:1',
          'dt-r[a]',
          'dt-r[^a]',
          'dt-r[b-z]:?',
          'dt-r\\a',
          '*-ra*',
          'localhost:1/dt/ra',
          'localhost*/dt/ra',
          'docker.io/library/dt-ra',
          'library/dt-ra',
          'dt-ra@sha256:*',
          '',
          'dt-r[',
          'dt-r[a',
          'dt-r[]a]',
          'dt-ra\\',
        ].map((pattern) => listed({ label: ['dt-r'], reference: [pattern] })),
        { ...listed({ label: ['dt-r'], reference: ['dt/ra:2', 'dt-rb'] }), sorted: true },
        get('/images/json?filter=dt/ra', { ...ROW, version: '1.40' }),
        get('/images/json?filter=dt/ra:2', { ...ROW, version: '1.24' }),
        get('/images/json?filter=dt/nosuch', { ...ROW, version: '1.40' }),
        sh(`docker images --format '{{.Repository}} {{.Tag}} {{.Size}}' dt/ra`),
        sh(`docker images --format '{{.Repository}} {{.Tag}}' dt/ra:2`),
        sh('docker images -q dt/ra | uniq'),
        sh('docker images -q --no-trunc dt-rb'),
        sh('docker images --digests dt-rb'),
        sh('docker images dt/nosuch'),
        sh(`docker images --format json dt-rb`),
        sh('docker images --tree dt-rb'),
        sh('docker images a b'),
        gone('dt/ra:1', 'dt/ra:2', 'dt/sub/ra:1', 'dt-ra:1', 'localhost:1/dt/ra:1', 'dt-rb:1'),
      ],
    },
    {
      name: 'parameters',
      steps: [
        gone('dt/pa:1', 'dt/pb:1'),
        small(
          { tags: ['dt/pa:1'], layers: ['pa'], labels: { 'dt-p': '' } },
          { tags: ['dt/pb:1'], layers: ['pa', 'pb'], created: '2021-01-02', labels: { 'dt-p': '' } },
        ),
        made('a', { Image: 'dt/pa:1' }),
        ...['shared-size=1', 'shared-size=0', 'digests=1', 'manifests=1', 'all=1', 'all=x', 'shared-size=x'].map(
          (one) =>
            get(`/images/json?${one}&filters={"label":["dt-p"]}`, {
              only: ['RepoTags', 'SharedSize', 'Containers', 'ParentId', 'Manifests', 'Descriptor', 'Size'],
            }),
        ),
        ...['1.24', '1.25', '1.30', '1.38', '1.40', '1.41', '1.42', '1.43', '1.44', '1.47', '1.48', '1.50'].map(
          (version) => get('/images/json?shared-size=1&manifests=1&filters={"label":["dt-p"]}', { version }),
        ),
        gone('dt/pa:1', 'dt/pb:1'),
      ],
    },
    {
      name: 'parents',
      steps: [
        gone('dt/pc:1', 'dt/pd:1', 'dt/pe:1', 'dt/base:1'),
        small({ tags: ['dt/base:1'], layers: ['base'], labels: { 'dt-i': '' } }),
        made('a', { Image: 'dt/base:1' }),
        sh('docker commit @a dt/pc:1', { quiet: true }),
        made('b', { Image: 'dt/pc:1' }),
        sh('docker commit @b dt/pd:1', { quiet: true }),
        sh('docker rm @b', { quiet: true }),
        sh(`docker inspect -f '{{len .Parent}}' dt/base:1 dt/pc:1 dt/pd:1`),
        sh('test $(docker inspect -f {{.Parent}} dt/pd:1) = $(docker inspect -f {{.Id}} dt/pc:1)'),
        sh(`docker history --format '{{.CreatedBy}}|{{.Size}}|{{.Comment}}' dt/pd:1`),
        get('/images/dt/pd:1/history', { only: ['Tags', 'Size', 'Id', 'CreatedBy', 'Comment'] }),
        get('/images/dt/base:1/history'),
        sh('docker rmi dt/pc:1'),
        listed({ label: ['dt-i'] }),
        get('/images/json?all=1&filters={"label":["dt-i"]}', ROW),
        listed({ label: ['dt-i'], dangling: ['true'] }),
        get('/images/json?all=1&filters={"label":["dt-i"],"dangling":["true"]}', ROW),
        get('/images/json?all=1&filters={"label":["dt-i"],"dangling":["false"]}', ROW),
        sh(`docker images -a --format '{{.Repository}} {{.Tag}}' -f label=dt-i`, { sorted: true }),
        sh('docker rmi dt/base:1'),
        sh('docker rm @a', { quiet: true }),
        sh('docker rmi --no-prune dt/pd:1'),
        listed({ label: ['dt-i'] }),
        post('/images/prune?filters={"label":["dt-i"]}'),
        listed({ label: ['dt-i'] }),
        gone('dt/pc:1', 'dt/pd:1', 'dt/pe:1', 'dt/base:1'),
      ],
    },
  ],
};
