/** One image: `inspect` in every version of the API, its history, platforms and manifests. */
import { type CallStep, get, made, post, type Subject, sh } from '../case.js';
import { gone, small } from './image-kit.js';

const AMD64 = '{"os":"linux","architecture":"amd64"}';
const ARM64 = '{"os":"linux","architecture":"arm64"}';
const inspect = (query: string, version = '1.51'): CallStep =>
  get(`/images/dt/va:1/json?${query}`, { version, only: ['Id', 'RepoTags', 'Manifests', 'Descriptor'] });
const history = (query: string, version = '1.51'): CallStep => get(`/images/dt/vh:1/history?${query}`, { version });

const FULL =
  '"author":"someone","comment":"said","docker_version":"1.2","variant":"v2","os.version":"9","history":[{"created":"2020-01-01T00:00:00Z","created_by":"one","author":"a"},{"created":"2020-01-01T00:00:01Z","created_by":"two","empty_layer":true,"comment":"c"},{"created_by":"three"}]';

export const imageViews: Subject = {
  name: 'image-views',
  cases: [
    {
      name: 'inspect in versions',
      steps: [
        gone('dt/vb:1'),
        small({ tags: ['dt/vb:1'], layers: ['vb', 'vc'], labels: { a: 'b' }, more: FULL }),
        ...[
          '1.24',
          '1.25',
          '1.30',
          '1.36',
          '1.40',
          '1.41',
          '1.42',
          '1.43',
          '1.44',
          '1.45',
          '1.46',
          '1.47',
          '1.48',
          '1.49',
          '1.50',
          '1.51',
        ].map((version) => get('/images/dt/vb:1/json', { version })),
        sh(`docker inspect --type image dt/vb:1 | sed '/GraphDriver/,/RootFS/d' | grep -v sha256`),
        sh(`docker image inspect -f '{{.Os}} {{.Architecture}} {{.Variant}} {{.Author}}' dt/vb:1 dt/nosuch:1`),
        gone('dt/vb:1'),
      ],
    },
    {
      name: 'platforms and manifests',
      steps: [
        gone('dt/va:1'),
        small({ tags: ['dt/va:1'], layers: ['va'] }),
        inspect('manifests=1'),
        inspect('manifests=0'),
        inspect('manifests=x'),
        inspect('manifests=1', '1.47'),
        inspect(`platform=${AMD64}`),
        inspect(`platform=${ARM64}`),
        inspect(`platform=${ARM64}`, '1.48'),
        inspect(`platform=${AMD64}&manifests=1`),
        inspect('platform=x'),
        inspect('platform={}'),
        inspect('platform={"os":"linux"}'),
        inspect('platform={"os":1}'),
        inspect('platform=linux/amd64'),
        inspect('platform='),
        sh(`docker image inspect --platform linux/amd64 -f '{{.RepoTags}}' dt/va:1`),
        sh(`docker image inspect --platform linux/arm64 -f '{{.RepoTags}}' dt/va:1`),
        sh(`docker image inspect --platform linux/amd64/v2 -f '{{.RepoTags}}' dt/va:1`),
        gone('dt/va:1'),
      ],
    },
    {
      name: 'names of one image',
      steps: [
        gone('dt/vn:1'),
        small({ tags: ['dt/vn:1'], layers: ['vn'] }),
        ...[
          'docker.io/dt/vn:1',
          'index.docker.io/dt/vn:1',
          'dt/vn',
          'dt/vn:',
          'dt/vn:1:2',
          'DT/vn:1',
          'dt/vn:1@sha256:00',
          '',
          '%20',
        ].map((name) => get(`/images/${name}/json`, { only: ['RepoTags'] })),
        sh(`docker inspect -f '{{.RepoTags}}' $(docker images -q dt/vn)`),
        sh(`docker inspect -f '{{.RepoTags}}' sha256:$(docker images -q dt/vn)`),
        sh(`docker inspect -f '{{.RepoTags}}' $(docker images -q --no-trunc dt/vn | cut -c8-)`),
        sh(`docker inspect -f '{{.RepoTags}}' $(docker images -q --no-trunc dt/vn | cut -c8-12 | tr a-f A-F)x`),
        gone('dt/vn:1'),
      ],
    },
    {
      name: 'history',
      steps: [
        gone('dt/vh:1', 'dt/vh:2', 'dt/vi:1'),
        small({ tags: ['dt/vh:1'], layers: ['vh', 'vhh'], more: FULL }, { tags: ['dt/vi:1'], layers: ['vi', 'vii'] }),
        history(''),
        history('', '1.24'),
        history(`platform=${AMD64}`),
        history(`platform=${ARM64}`),
        history(`platform=${ARM64}`, '1.47'),
        history('platform=x'),
        get('/images/dt/vi:1/history'),
        get('/images/UPPER/history'),
        sh(`docker history --no-trunc --format '{{.CreatedBy}}|{{.Size}}|{{.Comment}}' dt/vh:1`),
        sh('docker history -q dt/vh:1'),
        sh('docker history --platform linux/arm64 dt/vh:1'),
        sh('docker history dt/nosuch:1'),
        made('a', { Image: 'dt/vh:1' }),
        post('/commit?container=@a&repo=dt/vh&tag=2&author=me&comment=mine&changes=LABEL%20x=y', {}, { quiet: true }),
        get('/images/dt/vh:2/history'),
        get('/images/dt/vh:2/json', {
          only: [
            'RepoTags',
            'Author',
            'Comment',
            'Config',
            'Architecture',
            'Os',
            'Container',
            'ContainerConfig',
            'Size',
          ],
        }),
        get('/images/dt/vh:2/json', { version: '1.43' }),
        gone('dt/vh:1', 'dt/vh:2', 'dt/vi:1'),
      ],
    },
  ],
};
