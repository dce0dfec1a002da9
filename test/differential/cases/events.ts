/** Events of containers, execs and images. */
import { type CallStep, del, ended, get, made, post, type Subject, sh, started } from '../case.js';

const FIELDS = { only: ['Type', 'Action', 'status', 'from', 'Actor', 'scope'] };

/** The past events of a container of the case: what happened, and what is told with it. */
const past = (name: string): CallStep =>
  get(`/events?since={begin}&until={now}&filters={"container":["@${name}"]}`, FIELDS);

export const events: Subject = {
  name: 'events',
  cases: [
    {
      name: 'of a life',
      steps: [
        made('a', { Cmd: ['sh', '-c', 'exit 3'], Labels: { k: 'v' } }),
        started('a'),
        ended('a'),
        post('/containers/@a/rename?name=@b', undefined, { quiet: true }),
        past('b'),
        get('/events?since={begin}&until={now}&filters={"container":["@b"],"event":["die"]}', FIELDS),
        get('/events?since={begin}&until={now}&filters={"container":["@b"],"type":["network"]}', FIELDS),
        get(
          '/events?since={begin}&until={now}&filters={"container":["@b"],"label":["k=v"],"event":["start","create"]}',
          FIELDS,
        ),
        get(
          '/events?since={begin}&until={now}&filters={"container":["@b"],"image":["dt/busybox"],"event":["start"]}',
          FIELDS,
        ),
        get('/events?since={begin}&until={now}&filters={"container":["nosuch"]}', FIELDS),
        get('/events?since={begin}&until={now}&filters={"container":["@b"],"scope":["swarm"]}', FIELDS),
      ],
    },
    {
      name: 'of a start that fails',
      steps: [made('a', { Cmd: ['/nosuch'] }), { ...started('a'), quiet: false }, past('a')],
    },
    {
      name: 'of a removal',
      steps: [
        made('a', { Labels: { 'dt-removal': '1' } }),
        started('a'),
        sh('docker rm -f @a'),
        sh('sleep 0.3', { quiet: true }),
        get('/events?since={begin}&until={now}&filters={"label":["dt-removal=1"]}', FIELDS),
      ],
    },
    {
      name: 'of images',
      steps: [
        post('/images/dt/hello/tag?repo=dt/fifth', undefined, { quiet: true }),
        del('/images/dt/fifth', { quiet: true }),
        get('/events?since={begin}&until={now}&filters={"type":["image"],"image":["dt/fifth"]}', FIELDS),
      ],
    },
    {
      name: 'of an exec',
      steps: [
        made('a'),
        started('a'),
        sh('docker exec @a true'),
        post('/containers/@a/kill?signal=WINCH'),
        post('/containers/@a/resize?h=10&w=20'),
        post('/containers/@a/stop?t=0', undefined, { quiet: true }),
        // The last two, `die` and `stop`, come in either order.
        { ...past('a'), sorted: true },
      ],
    },
  ],
};
