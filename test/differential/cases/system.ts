/** `/_ping`, `/version`, `/info`, `/auth`, `/events` and the versions of the API. */
import { get, head, post, type Subject, sh } from '../case.js';

export const system: Subject = {
  name: 'system',
  cases: [
    {
      name: 'ping',
      steps: [get('/_ping'), head('/_ping'), get('/_ping', { version: '' }), get('/_ping', { version: '1.24' })],
    },
    {
      name: 'version',
      steps: [get('/version'), get('/version', { version: '' }), get('/version', { version: '1.24' })],
    },
    { name: 'info', steps: [get('/info')] },
    {
      name: 'info in older versions',
      steps: ['1.24', '1.38', '1.41', '1.43', '1.45', '1.49', '1.50'].map((version) => get('/info', { version })),
    },
    {
      name: 'versions that are not spoken',
      steps: ['1.23', '1.12', '1.57', '1.99', '2.0', '0.1'].map((version) => get('/version', { version })),
    },
    {
      name: 'versions that are none',
      steps: ['1', '1.x', '1.2.3', '.', '-1.40'].map((version) => get('/version', { version })),
    },
    {
      name: 'auth',
      steps: [
        post('/auth'),
        post('/auth', { username: 1 }),
        post('/auth', { username: 'a', password: 'b', serveraddress: '127.0.0.1:1' }),
      ],
    },
    {
      name: 'events that are past',
      steps: [
        get('/events?since=2&until=1'),
        get('/events?since=x'),
        get('/events?until=1'),
        get('/events?filters={"nosuch":["1"]}&until=1'),
      ],
    },
    {
      name: 'cli',
      steps: [
        sh(
          `docker version --format '{{.Server.APIVersion}} {{.Server.MinAPIVersion}} {{.Server.Os}}/{{.Server.Arch}}'`,
        ),
        sh(`docker info --format '{{.OSType}} {{.Swarm.LocalNodeState}} {{.LoggingDriver}}'`),
      ],
    },
  ],
};
