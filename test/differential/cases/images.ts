/** Images: lists, inspect, history, tags, removal, pulls that fail, archives. */
import { del, get, made, post, type ScriptStep, type Subject, sh } from '../case.js';

/**
 * Goes to a directory with the files of a small image: its layers `a` and `b`, and its configuration `c`. Cases are played at the same time,
 * so each has content of its own.
 */
const files = (word: string): string => `cd $(mktemp -d) && mkdir a b && echo ${word} > a/one && echo ${word} > b/two &&
layer() { tar --sort=name --mtime=@0 --owner=0 --group=0 -cf $1.tar -C $1 . && rm -r $1 && sha256sum < $1.tar | cut -c-64; }
A=$(layer a) && B=$(layer b) && printf '{"architecture":"amd64","os":"linux","created":"2020-01-02T03:04:05Z","config":{"Cmd":["x"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s","sha256:%s"]}}' $A $B > c &&
manifest() { printf '[{"Config":"%s","RepoTags":%s,"Layers":%s}]' "$@" > manifest.json; } &&
manifest c '["dt/arch:1"]' '["a.tar","b.tar"]'`;

/** Loads the image with some of its files changed. */
const loaded = (change: string, load = 'tar -c * | docker load'): ScriptStep =>
  sh(`${files('loaded')} && ${change} && ${load}`);
/** A file of an archive. */
const inside = (name: string, ...images: string[]): ScriptStep =>
  sh(`docker save ${images.join(' ')} | tar -xO ${name}`);

export const images: Subject = {
  name: 'images',
  cases: [
    {
      name: 'list',
      steps: [
        get('/images/json?filters={"reference":["dt/busybox"]}'),
        get('/images/json?filters={"reference":["dt/?us*x"]}', { sorted: true, only: ['RepoTags'] }),
        get('/images/json?filters={"reference":["dt/nosuch"]}'),
        get('/images/json?filters={"label":["tier=web"],"reference":["dt/*"]}', { only: ['RepoTags', 'Labels'] }),
        get('/images/json?filters={"before":["dt/nosuch"]}'),
        get('/images/json?filters={"nosuch":["x"]}'),
        get('/images/json?filters={"dangling":["maybe"]}'),
        get('/images/json?filters={'),
        get('/images/json?filters={"reference":["dt/web"]}', { version: '1.24' }),
        get('/images/json?filters={"reference":["dt/web"]}', { version: '1.43' }),
        get('/images/json?digests=1&filters={"reference":["dt/web"]}'),
        get('/images/json?shared-size=1&filters={"reference":["dt/web"]}', { only: ['SharedSize', 'Containers'] }),
        sh(`docker images --format '{{.Repository}} {{.Tag}}' dt/busybox`),
      ],
    },
    {
      name: 'inspect',
      steps: [
        get('/images/dt/busybox/json'),
        get('/images/dt/web:latest/json'),
        get('/images/dt/web:latest/json', { version: '1.24' }),
        get('/images/dt/web:latest/json', { version: '1.43' }),
        get('/images/dt/web:latest/json', { version: '1.47' }),
        get('/images/dt/no-shell/json', { only: ['Config'] }),
        get('/images/dt/nosuch/json'),
        get('/images/UPPER/json'),
        get('/images/sha256:0000000000/json'),
        get('/images/dt/busybox:nosuch/json'),
        get('/images/dt/web/history'),
        get('/images/dt/nosuch/history'),
      ],
    },
    {
      name: 'tag and remove',
      steps: [
        post('/images/dt/hello/tag?repo=dt/other&tag=x'),
        get('/images/dt/other:x/json', { only: ['RepoTags'] }),
        post('/images/dt/nosuch/tag?repo=dt/other&tag=x'),
        post('/images/dt/hello/tag?repo=UPPER'),
        post('/images/dt/hello/tag?repo=dt/other&tag=-x'),
        post('/images/dt/hello/tag'),
        del('/images/dt/other:x'),
        del('/images/dt/other:x'),
        del('/images/UPPER'),
        sh('docker tag dt/hello dt/third && docker rmi dt/third'),
        sh('docker rmi dt/nosuch'),
      ],
    },
    {
      name: 'remove what is used',
      steps: [
        sh('docker tag dt/no-shell dt/fourth', { quiet: true }),
        made('a', { Image: 'dt/fourth' }),
        del('/images/dt/fourth'),
        sh('docker images -q --no-trunc dt/no-shell'),
        sh('docker rmi $(docker images -q dt/fourth)'),
      ],
    },
    {
      name: 'pulls that fail',
      steps: [
        post('/images/create?fromImage=UPPER'),
        post('/images/create?fromImage=dt/busybox&tag=-x'),
        post('/images/create'),
        post('/images/create?fromImage=127.0.0.1:1/x&tag=y'),
        post('/images/create?fromImage=dt/busybox&platform=nosuch/a/b/c'),
      ],
    },
    {
      name: 'save',
      steps: [
        sh(
          `${files('saved')} && manifest c '["dt/saved:1","dt/saved:2"]' '["a.tar","b.tar"]' && tar -c * | docker load`,
          {
            quiet: true,
          },
        ),
        inside('manifest.json', 'dt/saved:1'),
        inside('index.json', 'dt/saved:1'),
        inside('repositories', 'dt/saved:1'),
        inside('oci-layout', 'dt/saved:1'),
        inside('manifest.json', 'dt/saved:2', 'dt/saved:1'),
        inside('manifest.json', '$(docker images -q dt/saved:1)'),
        inside('index.json', '$(docker images -q --no-trunc dt/saved:1)'),
        sh('docker save dt/saved:1 | tar -xO index.json | grep -o sha256:[0-9a-f]*'),
        sh('docker save $(docker images -q dt/saved:1) | tar -t | grep -v blobs'),
        sh('docker save dt/saved:1 dt/nosuch:3'),
        get('/images/get?names=nosuch'),
        get('/images/get?names=dt/nosuch:1'),
        get('/images/dt/nosuch/get'),
        get('/images/get?names='),
        get('/images/get?names=UPPER'),
        get('/images/get?names=dt/saved:1&platform=x'),
        get('/images/get?names=dt/saved:1&platform={"os":"linux","architecture":"arm64"}'),
        del('/images/dt/saved:1'),
        del('/images/dt/saved:2'),
      ],
    },
    {
      name: 'load',
      steps: [
        loaded('true'),
        get('/images/dt/arch:1/json', { only: ['Id', 'RepoTags', 'RootFS', 'Created', 'Parent'] }),
        loaded('gzip a.tar && mv a.tar.gz a.tar', 'tar -cz * | docker load'),
        loaded('true', 'tar -c * | zstd -q | docker load'),
        loaded('true', 'tar -c * | xz | docker load'),
        loaded('true', 'tar -c * | bzip2 | docker load'),
        loaded(`manifest c null '["a.tar","b.tar"]'`),
        loaded(`manifest c '["dt/arch:2","dt/arch:3"]' '["a.tar","./b.tar"]'`),
        loaded(`manifest c '["dt/arch:1"]' '["a.tar"]'`),
        loaded(`manifest c '["dt/UPPER:1"]' '["a.tar","b.tar"]'`),
        loaded(`manifest c '["dt/x@sha256:'$A'"]' '["a.tar","b.tar"]'`),
        loaded(`manifest c '["dt/arch"]' '["a.tar","b.tar"]'`),
        loaded(`sed -i s/linux/windows/ c`),
        loaded(`sed -i s/2020/2021/ c`),
        loaded(`sed -i s/amd64/arm64/ c`, 'tar -c * | docker load --platform linux/amd64'),
        loaded('echo "{" > c'),
        loaded('echo "{" > manifest.json'),
        loaded('echo "[]" > manifest.json'),
        loaded('true', 'tar -c * | docker load -q'),
        sh(`docker images --format '{{.Repository}} {{.Tag}} {{.ID}}' dt/arch`, { sorted: true }),
        post('/images/load?platform=x'),
        sh('docker rmi -f dt/arch:1 dt/arch:2 dt/arch:3', { quiet: true }),
        // It was the lower layer of both; now it is missing.
        loaded('rm b.tar && sed -i s/2020/2022/ c && echo three >> a.tar'),
        sh('docker rmi -f dt/arch:1 2> /dev/null || true', { quiet: true }),
      ],
    },
    {
      name: 'import',
      steps: [
        sh(`${files('imported')} && docker import a.tar dt/import:1`),
        get('/images/dt/import:1/json', {
          only: ['RepoTags', 'Comment', 'Os', 'Architecture', 'RootFS', 'Config', 'Parent'],
        }),
        sh(
          `${files('imported')} && gzip a.tar && docker import -m by-hand -c 'ENV A=b' -c 'CMD ["x"]' - dt/import:2 < a.tar.gz`,
        ),
        get('/images/dt/import:2/json', { only: ['Comment', 'RootFS'] }),
        sh(`docker history --format '{{.CreatedBy}}|{{.Comment}}|{{.Size}}' dt/import:2`),
        sh(`docker inspect -f '{{.Config.Env}} {{.Config.Cmd}}' dt/import:2`),
        sh(`${files('imported')} && docker import --platform linux/arm64 a.tar dt/import:3`),
        sh(`docker inspect -f '{{.Architecture}} {{.Os}}' dt/import:3`),
        sh(`${files('imported')} && docker import a.tar dt/UPPER`),
        sh(`${files('imported')} && docker import -c 'NOSUCH x' a.tar dt/import:4`),
        sh('docker rmi -f dt/import:1 dt/import:2 dt/import:3', { quiet: true }),
      ],
    },
    {
      name: 'what there is not',
      steps: [
        post('/images/dt/nosuch/push'),
        post('/images/prune?filters={"nosuch":["x"]}'),
        post('/images/prune?filters={"dangling":["maybe"]}'),
        get('/images/search?term=x&limit=1000'),
        get('/images/search?term=x&limit=a'),
        get('/images/search?term=x&filters={"nosuch":["a"]}'),
        get('/images/search?term=x&filters={"stars":["a"]}'),
        get('/images/search?term=x&filters={"is-official":["a"]}'),
        get('/distribution/UPPER/json'),
        get('/distribution/127.0.0.1:1/x/json'),
        get('/distribution/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/json'),
      ],
    },
    {
      name: 'networks and volumes',
      steps: [
        get('/networks/bridge', {
          only: ['Name', 'Scope', 'Driver', 'EnableIPv6', 'Internal', 'Attachable', 'Ingress', 'ConfigOnly', 'Labels'],
        }),
        get('/networks/nosuch'),
        del('/networks/nosuch'),
        get('/networks?filters={"nosuch":["x"]}'),
        get('/networks?filters={"name":["bridge"]}', { only: ['Name', 'Driver'] }),
        get('/volumes?filters={"name":["dt-nothing"]}'),
        get('/volumes?filters={"nosuch":["x"]}'),
        get('/volumes/nosuch'),
        del('/volumes/nosuch'),
        get('/swarm'),
        get('/services'),
        get('/nodes'),
        get('/tasks'),
        get('/secrets'),
        get('/configs'),
        get('/plugins'),
        get('/system/df?type=nosuch'),
      ],
    },
  ],
};
