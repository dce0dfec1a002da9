/** `docker attach` and the attach API. */
import { ended, made, post, type Subject, sh, started } from '../case.js';

const CAT = { Cmd: ['cat'], OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true };

export const attach: Subject = {
  name: 'attach',
  cases: [
    {
      name: 'with history',
      steps: [
        made('a', { Cmd: ['sh', '-c', 'echo one; echo two >&2'] }),
        started('a'),
        ended('a'),
        post('/containers/@a/attach?logs=1&stdout=1&stderr=1', undefined, { upgrade: '' }),
        post('/containers/@a/attach?logs=1&stdout=1', undefined),
        post('/containers/@a/attach?logs=1&stderr=1', undefined, { version: '1.41', upgrade: '' }),
        post('/containers/@a/attach?stream=1&stdout=1', undefined, { upgrade: '', neverEnds: true }),
        sh('docker attach @a'),
      ],
    },
    {
      name: 'with input',
      steps: [
        sh(`docker create -i --name @a dt/busybox cat >/dev/null; printf 'typed' | docker start -ai @a`),
        made('b', CAT),
        started('b'),
        post('/containers/@b/attach?stream=1&stdin=1&stdout=1', undefined, { upgrade: 'over the wire' }),
        ended('b'),
      ],
    },
    {
      name: 'refused',
      steps: [
        made('a'),
        post('/containers/@a/attach?stream=1&stdout=1&detachKeys=nosuch', undefined, { upgrade: '' }),
        post('/containers/@a/attach'),
        sh('docker attach @a'),
        sh('docker attach nosuch'),
      ],
    },
  ],
};
