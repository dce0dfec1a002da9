/** Pushes: what is said on the way, and how they fail. */
import { type CallStep, get, post, type ScriptStep, type Subject, sh } from '../case.js';
import { USER } from '../registries.js';
import { gone, small } from './image-kit.js';

const encoded = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64');

/** A push by the API. @param auth for the header; none: no header */
const pushed = (path: string, auth: unknown = {}): CallStep =>
  post(`/images/${path}`, undefined, auth === null ? {} : { headers: { 'x-registry-auth': encoded(auth) } });

/** A script with credentials for the closed registry, which only it knows of. */
const loggedIn = (script: string, { username, password } = USER): ScriptStep =>
  sh(
    `export DOCKER_CONFIG=$(mktemp -d); echo '{"auths":{"{closed}":{"auth":"${encoded(`${username}:${password}`)}"}}}' > $DOCKER_CONFIG/config.json; ${script}`,
  );

/** Its layers are told of in no certain order. */
const sorted = { sorted: true };

export const pushes: Subject = {
  name: 'pushes',
  cases: [
    {
      name: 'an image',
      steps: [
        gone('{open}/pa/a:1', '{open}/pa/a:2', '{open}/pa/b:1'),
        small({ tags: ['{open}/pa/a:1'], layers: ['pa'] }),
        sh('docker push {open}/pa/a:1'),
        sh('docker push {open}/pa/a:1'),
        sh('docker push -q {open}/pa/a:1'),
        pushed('{open}/pa/a/push?tag=1'),
        pushed('{open}/pa/a:1/push'),
        pushed('{open}/pa/a:1/push', null),
        sh('docker tag {open}/pa/a:1 {open}/pa/b:1 && docker push {open}/pa/b:1'),
        sh('docker tag {open}/pa/a:1 {open}/pa/a:2 && docker push {open}/pa/a:2'),
        get('/images/{open}/pa/a:1/json', { only: ['RepoTags', 'RepoDigests'] }),
        sh(`docker images --digests --format '{{.Repository}} {{.Tag}} {{.Digest}}' {open}/pa/a`, sorted),
        sh('docker rmi {open}/pa/a:1 {open}/pa/a:2 {open}/pa/b:1 > /dev/null && docker pull -q {open}/pa/a:2'),
        get('/distribution/{open}/pa/a:1/json'),
        gone('{open}/pa/a:2'),
      ],
    },
    {
      name: 'several layers',
      steps: [
        gone('{open}/pm/a:1', '{open}/pm/b:1'),
        small({ tags: ['{open}/pm/a:1'], layers: ['pm1', 'pm2', 'pm3'] }),
        small({ tags: ['{open}/pm/b:1'], layers: ['pm1', 'pm4', 'pm1', 'pm5'] }),
        sh('docker push {open}/pm/a:1', sorted),
        sh('docker push {open}/pm/b:1', sorted),
        get('/distribution/{open}/pm/b:1/json'),
        gone('{open}/pm/a:1', '{open}/pm/b:1'),
      ],
    },
    {
      name: 'all tags',
      steps: [
        gone('{open}/pt/a:1', '{open}/pt/a:2'),
        small({ tags: ['{open}/pt/a:1', '{open}/pt/a:2'], layers: ['pt'] }),
        sh('docker push -a {open}/pt/a', sorted),
        sh('docker push {open}/pt/a'),
        sh('docker push -a {open}/pt/a:1'),
        sh('docker push -a {open}/pt/nosuch'),
        sh('docker push -q -a {open}/pt/a'),
        gone('{open}/pt/a:1', '{open}/pt/a:2'),
      ],
    },
    {
      name: 'a platform',
      steps: [
        gone('{open}/pp/a:1'),
        small({ tags: ['{open}/pp/a:1'], layers: ['pp'] }),
        sh('docker push --platform linux/amd64 {open}/pp/a:1'),
        sh('docker push --platform linux/arm64 {open}/pp/a:1'),
        sh('docker push --platform nonsense/x/y/z {open}/pp/a:1'),
        pushed('{open}/pp/a/push?tag=1&platform={"os":"linux","architecture":"arm64"}'),
        pushed('{open}/pp/a/push?tag=1&platform=linux'),
        pushed('{open}/pp/a/push?tag=1&platform={"os":"linux"}'),
        gone('{open}/pp/a:1'),
      ],
    },
    {
      name: 'what there is not',
      steps: [
        gone('{open}/pn/a:1'),
        small({ tags: ['{open}/pn/a:1'], layers: ['pn'] }),
        sh('docker push {open}/pn/nosuch:1'),
        sh('docker push {open}/pn/a:2'),
        sh('docker push {open}/pn/a'),
        sh('docker push -q {open}/pn/a:1'),
        pushed('{open}/pn/a/push'),
        pushed('{open}/pn/a/push?tag='),
        pushed('{open}/pn/nosuch/push?tag=1'),
        sh('docker push {open}/pn/UPPER:1'),
        sh('docker push {open}/pn/a:.1'),
        sh(`docker push {open}/pn/a@sha256:${'a'.repeat(64)}`),
        sh(`docker push ${'a'.repeat(64)}`),
        sh('docker push $(docker images -q {open}/pn/a:1)'),
        sh('docker push'),
        sh('docker push a b'),
        sh('docker push dt/nosuch'),
        pushed('{open}/pn/UPPER/push?tag=1'),
        pushed('{open}/pn/a/push?tag=.1'),
        pushed('{open}/pn/a/push?tag=a:b'),
        pushed(`{open}/pn/a@sha256:${'a'.repeat(64)}/push`),
        pushed(`{open}/pn/a/push?tag=sha256:${'a'.repeat(64)}`),
        pushed(`${'a'.repeat(64)}/push`),
        sh('docker tag {open}/pn/a:1 127.0.0.1:1/pn/a:1 && docker push 127.0.0.1:1/pn/a:1'),
        pushed('127.0.0.1:1/pn/a/push?tag=1'),
        gone('{open}/pn/a:1', '127.0.0.1:1/pn/a:1'),
      ],
    },
    {
      name: 'who may push',
      steps: [
        gone('{closed}/pc/a:1', '{closed}/pc/b:1'),
        small({ tags: ['{closed}/pc/a:1', '{closed}/pc/b:1'], layers: ['pc'] }),
        sh('docker push {closed}/pc/a:1'),
        pushed('{closed}/pc/a/push?tag=1'),
        pushed('{closed}/pc/a/push?tag=1', null),
        pushed('{closed}/pc/a/push?tag=1', { ...USER, password: 'wrong' }),
        pushed('{closed}/pc/a/push?tag=1', { username: USER.username }),
        pushed('{closed}/pc/a/push?tag=1', { identitytoken: 'x' }),
        pushed('{closed}/pc/a/push?tag=1', { registrytoken: 'x' }),
        loggedIn('docker push {closed}/pc/a:1', { ...USER, password: 'wrong' }),
        loggedIn('docker push {closed}/pc/a:1'),
        loggedIn('docker push {closed}/pc/a:1'),
        loggedIn('docker push {closed}/pc/b:1'),
        pushed('{closed}/pc/b/push?tag=1', USER),
        pushed('{closed}/pc/a/push?tag=1', { ...USER, serveraddress: 'elsewhere' }),
        pushed('{closed}/pc/a/push?tag=1', 'not JSON'),
        gone('{closed}/pc/a:1', '{closed}/pc/b:1'),
      ],
    },
    {
      name: 'a registry that takes nothing',
      steps: [
        gone('{refusing}/denied/a:1'),
        small({ tags: ['{refusing}/denied/a:1'], layers: ['pr'] }),
        sh('docker push {refusing}/denied/a:1'),
        sh('docker push -q {refusing}/denied/a:1'),
        pushed('{refusing}/denied/a/push?tag=1'),
        pushed('{refusing}/denied/a/push?tag=1', USER),
        sh('docker tag {refusing}/denied/a:1 {refusing}/quota/a:1 && docker push {refusing}/quota/a:1'),
        sh('docker tag {refusing}/denied/a:1 {refusing}/unsupported/a:1 && docker push {refusing}/unsupported/a:1'),
        gone('{refusing}/denied/a:1', '{refusing}/quota/a:1', '{refusing}/unsupported/a:1'),
      ],
    },
    {
      name: 'what is told of it',
      steps: [
        gone('{open}/pe/a:1'),
        small({ tags: ['{open}/pe/a:1'], layers: ['pe'], labels: { 'dt-pe': '' } }),
        sh('docker push -q {open}/pe/a:1'),
        sh('docker push -q {open}/pe/a:2'),
        get('/events?since={begin}&until={now}&filters={"type":["image"],"event":["push"],"image":["{open}/pe/a:1"]}', {
          only: ['Type', 'Action', 'status', 'id', 'Actor', 'scope'],
        }),
        gone('{open}/pe/a:1'),
      ],
    },
  ],
};
