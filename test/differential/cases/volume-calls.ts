/** Calls about volumes: lists and their filters, inspect, create, prune; and every option of `-v` and `--mount`. */
import { type CallStep, del, get, made, post, type ScriptStep, type Subject, sh } from '../case.js';

/** Removes what a case has made, and what an interrupted one may have left. */
const cleared = (...names: string[]): ScriptStep =>
  sh(
    `docker rm -fv ${names.map((one) => `@${one}`).join(' ')} 2>/dev/null; docker volume rm -f ${names.map((one) => `@${one}`).join(' ')} 2>/dev/null; true`,
    { quiet: true },
  );
const listed = (filters: object): CallStep =>
  get(`/volumes?filters=${encodeURIComponent(JSON.stringify(filters)).replaceAll('%40', '@')}`);
const create = (body: unknown, version = '1.51'): CallStep => post('/volumes/create', body, { version });
/** Asks for a container with these options, which is refused. */
const refused = (options: string): ScriptStep => sh(`docker create --pull never --name @x ${options} dt/busybox true`);
/** Makes a container with these options, and shows its mounts. */
const asked = (options: string): ScriptStep =>
  sh(
    `docker create --pull never --name @x ${options} dt/busybox true > /dev/null && docker inspect -f '{{range .Mounts}}{{.Destination}} {{.Type}} {{len .Name}} {{.Driver}} {{.Mode}} {{.RW}} [{{.Propagation}}]{{println}}{{end}}{{json .HostConfig.Binds}} {{json .HostConfig.Mounts}} {{json .Config.Volumes}}' @x; docker rm -fv @x > /dev/null`,
    { sorted: true },
  );

export const volumeCalls: Subject = {
  name: 'volume-calls',
  cases: [
    {
      name: 'lists',
      steps: [
        cleared('x', 'v', 'w'),
        create({ Name: '@v', Labels: { 'dt-vl': 'a', other: '' } }),
        create({ Name: '@w', Labels: { 'dt-vl': 'b' }, Driver: 'local' }),
        made('x', { HostConfig: { Binds: ['@v:/d'] } }),
        listed({ label: ['dt-vl=a'] }),
        listed({ label: ['dt-vl', 'other'] }),
        listed({ label: ['dt-vl', 'other=x'] }),
        listed({ label: ['dt-vl='] }),
        listed({ label: { 'dt-vl=b': true } }),
        listed({ label: ['dt-vl'], dangling: ['true'] }),
        listed({ label: ['dt-vl'], dangling: ['false'] }),
        listed({ label: ['dt-vl'], dangling: ['1', 'true'] }),
        listed({ label: ['dt-vl'], dangling: [] }),
        listed({ label: ['dt-vl'], driver: ['local', 'nope'], dangling: ['0'] }),
        listed({ label: ['dt-vl'], driver: ['nope'] }),
        listed({ label: ['dt-vl'], name: ['@v'] }),
        listed({ label: ['dt-vl'], name: ['-w$'] }),
        listed({ label: ['dt-vl'], name: ['^dt-volume-calls-lists-w'] }),
        listed({ label: ['dt-vl'], name: ['nosuch', '@w'] }),
        listed({ label: ['dt-vl'], 'label!': ['other'] }),
        get('/volumes?filters={'),
        get('/volumes?filters=[]'),
        get('/volumes?filters={"label":"x"}'),
        get('/volumes?filters={"label":["dt-vl=a"]}', { version: '1.24' }),
        sh(`docker volume ls -f label=dt-vl --format '{{.Name}} {{.Driver}} {{.Scope}} {{.Links}} {{.Size}}'`, {
          sorted: true,
        }),
        sh('docker volume ls -f label=dt-vl=b'),
        sh('docker volume ls -q -f nosuch=x'),
        sh(`docker system df -v --format '{{range .Volumes}}{{if eq .Name "@v"}}{{.Links}}{{end}}{{end}}'`),
        sh(`docker system df -v --format '{{range .Volumes}}{{if eq .Name "@w"}}{{.Links}} {{.Size}}{{end}}{{end}}'`),
        cleared('x', 'v', 'w'),
      ],
    },
    {
      name: 'create and inspect',
      steps: [
        cleared('v', 'w'),
        create({ Name: '@v' }),
        create({ Name: '@v', Driver: 'local' }),
        create({ Name: '@v', Driver: 'nope' }),
        create({ Name: '@w', Labels: null, DriverOpts: null, Driver: null }, '1.24'),
        create({ Name: 'a b' }),
        create({ Name: '', Driver: 'nope' }),
        create({ Name: '.x' }),
        create({ Name: 'a/b' }),
        create({ Name: '/abs' }),
        create({ Name: 'ü' }),
        create({ Name: 1 }),
        create({ Name: '@w', Labels: { a: 1 } }),
        create({ Name: '@w', Labels: [] }),
        create({ Name: '@w', DriverOpts: { o: 1 } }),
        create('{'),
        post('/volumes/create', 'null', { keep: { made: 'Name' } }),
        del('/volumes/{made}'),
        create([]),
        create({ Name: '@w', DriverOpts: { nosuch: 'x' } }),
        post('/volumes/create', { Name: '@w' }, { headers: { 'content-type': 'text/plain' } }),
        get('/volumes/@v', { version: '1.24' }),
        get('/volumes/@v', { version: '1.41' }),
        get('/volumes/nosuch', { version: '1.24' }),
        get('/volumes/a%20b'),
        del('/volumes/a%20b'),
        del('/volumes/a%20b?force=1'),
        sh('docker volume inspect nosuch'),
        sh('docker volume create -d nope @w'),
        sh('docker volume rm $(docker volume create) | wc -c'),
        sh('docker volume create --name @v @w'),
        sh('docker volume rm'),
        sh('docker volume rm @v @w @v'),
        sh('docker volume update nosuch'),
        cleared('v', 'w'),
      ],
    },
    {
      name: 'options of -v',
      steps: [
        cleared('x', 'v'),
        asked(
          '-v @v:/a -v @v:/b:rw -v @v:/c:ro -v @v:/d:nocopy -v @v:/e:ro,nocopy -v @v:/f:z -v @v:/g:Z -v @v:/h/ -v @v://i//e -v @v:/j/../e -v /k -v /l/ --volume-driver local',
        ),
        ...[
          '@v:/d:consistent',
          '@v:/d:private',
          '@v:/d:ro,ro',
          '@v:/d:nosuch',
          '@v:/d:ro:rw',
          ':/d',
          '@v:/d --volume-driver nope -v @w:/e',
          '/d --volume-driver nope',
        ].map((one) => refused(`-v ${one}`)),
        cleared('x', 'v'),
      ],
    },
    {
      name: 'options of --mount',
      steps: [
        cleared('x', 'v', 'w'),
        asked(
          '--mount type=volume,src=@v,dst=/a --mount type=volume,source=@v,target=/b,readonly --mount type=volume,src=@v,dst=/c,ro=false --mount src=@v,destination=/d --mount dst=/e --mount type=volume,dst=/f,volume-nocopy --mount type=volume,src=@v,dst=/g,volume-nocopy=true --mount type=volume,src=@w,dst=/h,volume-label=a=b,volume-label=c --mount type=volume,src=@v,dst=/i,volume-driver=local --mount type=volume,src=@v,dst=/j,volume-subpath=a/b --mount type=tmpfs,dst=/k,tmpfs-size=64k,tmpfs-mode=1770 --mount type=tmpfs,dst=/l,readonly',
        ),
        sh(`docker volume inspect -f '{{json .Labels}} {{json .Options}}' @w`),
        ...[
          'type=volume,src=@v,dst=/d,readonly=maybe',
          'type=volume,src=@v2,dst=/d,volume-driver=nope',
          'type=volume,src=@v2,dst=/d,volume-opt=nosuch=x',
          'type=volume,src=@v,dst=/d,volume-subpath=../b',
          'type=volume,src=@v,dst=/d,bind-propagation=rprivate',
          'type=volume,src=@v,dst=/d,tmpfs-size=1m',
          'type=volume,src=@v,dst=/d,nosuch=1',
          'type=volume,src=@v,dst=d',
          'type=volume,src=@v',
          'type=tmpfs,src=@v,dst=/d',
          'type=tmpfs,dst=/d,tmpfs-mode=9',
          'type=nosuch,dst=/d',
          'type=volume,src=@v,dst=/d --mount type=volume,src=@w,dst=/d',
          'type=volume,src=@v,dst=/d -v @v:/d',
          'type=volume,src=@v,dst=/d --tmpfs /d',
        ].map((one) => refused(`--mount ${one}`)),
        sh(
          `docker run --rm --mount type=volume,src=@v,dst=/d,ro --mount type=volume,src=@w,dst=/e dt/busybox sh -c 'grep -c " /[de] " /proc/mounts; touch /e/x && echo written; touch /d/x'`,
        ),
        cleared('x', 'v', 'w'),
      ],
    },
    {
      name: 'anonymous volumes',
      steps: [
        cleared('x', 'y'),
        made('x', { Volumes: { '/d': {} }, HostConfig: { Mounts: [{ Type: 'volume', Target: '/e' }] } }),
        sh(
          `docker volume inspect -f '{{json .Labels}} {{.Driver}} {{json .Options}}' $(docker inspect -f '{{range .Mounts}}{{.Name}} {{end}}' @x)`,
        ),
        sh('docker rm -v @x', { quiet: true }),
        made('x', { Volumes: { '/d': {} } }),
        sh('docker create --name @y --volumes-from @x dt/busybox true > /dev/null'),
        sh(
          `all=$(docker inspect -f '{{range .Mounts}}{{.Name}} {{end}}' @x); docker rm -v @x; docker volume inspect -f '{{.Driver}}' $all; docker volume rm $all; docker rm -v @y; docker volume inspect -f '{{.Driver}}' $all`,
        ),
        sh(
          `docker create --name @x -v /d dt/busybox true > /dev/null; one=$(docker inspect -f '{{range .Mounts}}{{.Name}}{{end}}' @x); docker rm @x; docker volume ls -qf name=$one -f dangling=true | wc -l; docker volume rm $one | wc -c`,
        ),
        sh(
          `docker run --name @x -d -v /d dt/busybox sleep 600 > /dev/null; one=$(docker inspect -f '{{range .Mounts}}{{.Name}}{{end}}' @x); docker rm @x; docker volume rm -f $one; docker rm -fv @x; docker volume inspect $one`,
        ),
        cleared('x', 'y'),
      ],
    },
    {
      name: 'prune',
      steps: [
        cleared('x', 'v', 'w'),
        sh('docker volume create --label dt-vp=1 @v && docker volume create --label dt-vp=2 --label keep @w', {
          quiet: true,
        }),
        made('x', { HostConfig: { Binds: ['@v:/d'] } }),
        post('/volumes/prune?filters={"label":["dt-vp"],"all":["1"],"label!":["keep"]}'),
        post('/volumes/prune?filters={"label":["dt-vp"],"all":["false"]}'),
        post('/volumes/prune?filters={"label":["dt-vp"],"all":["true"],"until":["1h"]}'),
        post('/volumes/prune?filters={"label":["dt-vp"],"all":["true","false"]}'),
        post('/volumes/prune?filters={"label":["dt-vp"],"all":[]}'),
        post('/volumes/prune?filters={"label":["dt-vp"],"nosuch":["x"]}'),
        post('/volumes/prune?filters={"label":["dt-vp"],"all":["true"]}', undefined, { version: '1.41' }),
        sh('docker rm @x', { quiet: true }),
        post('/volumes/prune?filters={"label":["dt-vp"],"all":["t"]}'),
        get('/volumes?filters={"label":["dt-vp"]}'),
        get('/events?since={begin}&until={now}&filters={"type":["volume"],"volume":["@v","@w"]}', {
          only: ['Type', 'Action', 'Actor', 'scope', 'status', 'id'],
        }),
        cleared('x', 'v', 'w'),
      ],
    },
  ],
};
