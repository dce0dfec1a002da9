/** Bodies as clients of all kinds write them, and what Go's decoder says of those it does not take; queries. */
import { get, post, type Subject, started } from '../case.js';

const loose = (name: string, body: string): ReturnType<typeof post> =>
  post(`/containers/create?name=@${name}`, body, { headers: { 'content-type': 'application/json' }, quiet: true });
const refused = (body: string): ReturnType<typeof post> =>
  post('/containers/create', body, { headers: { 'content-type': 'application/json' } });
const image = '"Image":"dt/busybox","Cmd":["true"]';
const host = (text: string): string => `{${image},"HostConfig":${text}}`;

export const json: Subject = {
  name: 'json',
  cases: [
    {
      name: 'null is the zero value',
      steps: [
        loose('a', `{${image},"Labels":{"a":null},"Healthcheck":null,"HostConfig":{"PortBindings":{"80/tcp":[null]}}}`),
        get('/containers/@a/json', { only: ['State', 'Args'] }),
        loose('b', host('{"RestartPolicy":{"Name":null,"MaximumRetryCount":null}}')),
        loose('c', host('{"LogConfig":{"Type":null,"Config":null}}')),
        loose('d', host('{"Ulimits":[{"Name":"nofile","Hard":2048}]}')),
        loose('e', host('{"Tmpfs":{"/x":null},"ConsoleSize":[]}')),
        loose('f', host('{"PortBindings":{"80/tcp":[{"HostIp":null,"HostPort":""}]}}')),
        started('f'),
      ],
    },
    {
      name: 'names in any case, and unknown ones',
      steps: [
        loose(
          'a',
          '{"image":"dt/busybox","cmd":["echo","lower"],"hostconfig":{"autoremove":false,"nosuch":[1]},"x":{}}',
        ),
        get('/containers/@a/json', { only: ['Path', 'Args'] }),
      ],
    },
    {
      name: 'types',
      steps: [
        `{${image},"Tty":"true"}`,
        `{${image},"Env":{}}`,
        `{${image},"Labels":{"a":1}}`,
        `{${image},"Volumes":{"/x":1}}`,
        '{"Image":"dt/busybox","Cmd":1}',
        '{"Image":"dt/busybox","Cmd":[1]}',
        host('1'),
        host('{"Memory":"1"}'),
        host('{"Memory":1e8}'),
        host('{"Memory":99999999999999999999}'),
        host('{"PortBindings":{"80/tcp":[{"HostPort":80}]}}'),
        host('{"PortBindings":{"80/tcp":{}}}'),
        host('{"ConsoleSize":[-1,2]}'),
        host('{"GroupAdd":[1]}'),
        host('{"RestartPolicy":{"MaximumRetryCount":"1"}}'),
        '[]',
      ].map(refused),
    },
    {
      name: 'texts that are no JSON',
      steps: [`{${image}} x`, `{${image}`, '\ufeff{}', "{'a':1}", '{"a":"\\q"}', '{"a":1.}', ' '].map(refused),
    },
    {
      name: 'other routes',
      steps: [
        post('/containers/nosuch/exec', '{"cmd":[]}', { headers: { 'content-type': 'application/json' } }),
        post('/containers/nosuch/exec', { Cmd: 1 }),
        post('/exec/nosuch/start', { Tty: 1 }),
        post('/volumes/create', { DriverOpts: { a: 1 } }),
        post('/containers/nosuch/update', { Memory: 'x' }),
        post('/containers/nosuch/update', { Memory: null }),
      ],
    },
    {
      name: 'queries',
      steps: [
        get('/containers/json?all=1;limit=2'),
        get('/containers/json?a=%zz'),
        get('//containers/json'),
        get('/containers/json/'),
      ],
    },
  ],
};
