/** Volumes: of containers, by themselves, shared and removed. A name with `@` is that of a volume too: of the case, removed at its end. */
import {
  type CallStep,
  del,
  ended,
  get,
  made,
  post,
  put,
  type ScriptStep,
  type Subject,
  sh,
  started,
} from '../case.js';

/** Removes what a case has made, and what an interrupted one may have left. */
const cleared = (...names: string[]): ScriptStep =>
  sh(
    `docker rm -fv ${names.map((one) => `@${one}`).join(' ')} 2>/dev/null; docker volume rm -f ${names.map((one) => `@${one}`).join(' ')} 2>/dev/null; true`,
    { quiet: true },
  );

/** A container with this is asked for; what is answered counts. */
const asked = (config: Record<string, unknown>): CallStep =>
  post('/containers/create?name=@x', { Image: 'dt/busybox', Cmd: ['true'], ...config });
const binds = (...Binds: string[]): CallStep => asked({ HostConfig: { Binds } });
const mount = (one: object): CallStep => asked({ HostConfig: { Mounts: [one] } });
const from = (...VolumesFrom: string[]): CallStep => asked({ HostConfig: { VolumesFrom } });

const MOUNTS =
  '{{range .Mounts}}{{.Destination}} {{.Type}} {{.Name}} {{.Driver}} {{.Mode}} {{.RW}} [{{.Propagation}}]{{println}}{{end}}';
const mounts = (name: string): ScriptStep => sh(`docker inspect -f '${MOUNTS}' @${name}`, { sorted: true });
const HOST =
  '{{len .HostConfig.Binds}} {{json .HostConfig.Mounts}} {{json .HostConfig.VolumesFrom}} {{json .HostConfig.VolumeDriver}} {{json .HostConfig.Tmpfs}} {{json .Config.Volumes}}';

export const volumes: Subject = {
  name: 'volumes',
  cases: [
    {
      name: 'bad volumes',
      steps: [
        binds('/'),
        binds('rel'),
        binds('a:b:c:d'),
        binds('ab:/'),
        binds(':/x'),
        binds('ab:rel'),
        binds('ab:/x:zz'),
        binds('ab:/x:ro,rw'),
        binds('ab:/x:z,Z'),
        binds('ab:/x:copy'),
        binds('ab::/x'),
        binds('ab:'),
        binds(''),
        binds('::'),
        binds('/anon:ro'),
        binds('ab:/b:rshared'),
        binds('a:/b'),
        binds('../a:/b'),
        binds('a/b:/c'),
        binds('-a:/b'),
        binds('~/x:/y'),
        binds('@v:/b', '@w:/b'),
        binds('@v:/b', '@w:/b/'),
        asked({ HostConfig: { Binds: ['@v:/b'], Tmpfs: { '/b': '' } } }),
        asked({ HostConfig: { Binds: ['@v:/b'], Mounts: [{ Type: 'volume', Source: '@v', Target: '/b' }] } }),
        sh('docker create --name @x -v @v:/x:zz dt/busybox'),
        cleared('x', 'v', 'w'),
      ],
    },
    {
      name: 'bad mounts',
      steps: [
        mount({}),
        mount({ Type: 'volume' }),
        mount({ Type: 'volume', Target: 'rel' }),
        mount({ Type: 'volume', Target: '/' }),
        mount({ Type: '', Target: '/b' }),
        mount({ Type: 'zz', Target: '/b' }),
        mount({ Type: 'npipe', Source: 'x', Target: '/b' }),
        mount({ Type: 'volume', Source: '/abs', Target: '/b' }),
        mount({ Type: 'volume', Source: '-x', Target: '/b' }),
        mount({ Type: 'volume', Source: 'x', Target: '/b' }),
        mount({ Type: 'volume', Target: '/b', ReadOnly: true }),
        mount({ Type: 'volume', Target: '/b', VolumeOptions: { Subpath: 's' } }),
        mount({ Type: 'volume', Source: '@v', Target: '/b', VolumeOptions: { Subpath: '/s' } }),
        mount({ Type: 'volume', Source: '@v', Target: '/b', VolumeOptions: { Subpath: '../s' } }),
        mount({ Type: 'volume', Source: '@v', Target: '/b', TmpfsOptions: {} }),
        mount({ Type: 'volume', Source: '@v', Target: '/b', BindOptions: {} }),
        mount({ Type: 'volume', Target: '/b', ImageOptions: {} }),
        mount({
          Type: 'volume',
          Source: '@w',
          Target: '/b',
          VolumeOptions: { DriverConfig: { Name: 'local', Options: { foo: 'bar' } } },
        }),
        mount({ Type: 'tmpfs', Source: 'x', Target: '/b' }),
        mount({ Type: 'tmpfs', Target: '/b', VolumeOptions: {} }),
        mount({ Type: 'tmpfs', Target: '/b', TmpfsOptions: { Options: [[]] } }),
        mount({ Type: 'tmpfs', Target: '/b', TmpfsOptions: { Options: [['noexec'], ['size', '1']] } }),
        mount({ Type: 'bind', Source: '', Target: '/b' }),
        mount({ Type: 'bind', Source: 'rel', Target: '/b' }),
        mount({ Type: 'bind', Source: '/etc', Target: '/b', VolumeOptions: {} }),
        asked({ HostConfig: { Mounts: ['volume', 'tmpfs'].map((Type) => ({ Type, Target: '/b' })) } }),
        from(''),
        from('nope'),
        from('nope:ro'),
        from('nope:zz'),
        from('a:b:c'),
        from(':ro'),
        sh('docker create --name @x --volumes-from nope dt/busybox'),
        sh('docker create --name @x --mount type=volume,src=@v dt/busybox'),
        cleared('x', 'v', 'w'),
      ],
    },
    {
      name: 'directories of the host',
      steps: [binds('/etc:/b'), mount({ Type: 'bind', Source: '/etc', Target: '/b' })],
    },
    {
      name: 'a volume by itself',
      steps: [
        cleared('v', 'w'),
        post('/volumes/create', { Name: '@v', Labels: { k: 'v' }, DriverOpts: {} }),
        post('/volumes/create', { Name: '@v', Labels: { other: 'x' }, DriverOpts: { a: 'b' } }),
        get('/volumes/@v'),
        sh('docker volume create @w'),
        sh('docker volume create --driver nope @w-2'),
        sh('docker volume create -- -x'),
        sh('docker volume create a'),
        post('/volumes/create', { Name: '@w-2', DriverOpts: { foo: 'b' } }),
        post('/volumes/create', { Name: '@w-2', DriverOpts: { size: 'x' } }),
        post('/volumes/create', { Name: '@w-2', ClusterVolumeSpec: {} }),
        sh(
          "docker volume inspect -f '{{.Name}} {{.Driver}} {{.Scope}} {{json .Labels}} {{json .Options}}' @v @w nosuch",
        ),
        sh('docker volume ls -q -f name=@v -f name=@w', { sorted: true }),
        sh('docker volume ls -f label=k=v -f name=@v'),
        sh('docker volume ls -q -f label=k=w -f name=@v'),
        sh('docker volume ls -q -f driver=loc -f name=@v'),
        sh('docker volume ls -q -f driver=local -f name=@v'),
        sh('docker volume ls -q -f dangling=true -f name=@v'),
        sh('docker volume ls -q -f dangling=0 -f name=@v'),
        get('/volumes?filters={"dangling":["zz"]}'),
        get('/volumes?filters={"dangling":["true","false"]}'),
        get('/volumes?filters={"foo":["x"]}'),
        put('/volumes/@v?version=1', {}),
        sh('docker volume rm @v nosuch @w'),
        sh('docker volume rm -f nosuch'),
        del('/volumes/@v?force=1'),
        get('/volumes/@v'),
      ],
    },
    {
      name: 'of a container',
      steps: [
        cleared('a', 'b', 'v', 'w'),
        sh('docker volume create --label k=v @w', { quiet: true }),
        sh(
          'docker create --name @a -v @v:/data -v /anon -v @w:/ro:ro --mount type=volume,dst=/m,volume-nocopy --mount type=tmpfs,dst=/t,tmpfs-size=64k,tmpfs-mode=700 --tmpfs /t2 dt/busybox true >/dev/null',
        ),
        mounts('a'),
        sh(`docker inspect -f '${HOST}' @a`),
        sh("docker ps -a --filter volume=@v --format '{{.Names}} {{.LocalVolumes}}'"),
        sh('docker ps -aq --filter name=@a --filter volume=/data | wc -l'),
        sh('docker ps -aq --filter name=@a --filter volume=/dat | wc -l'),
        sh('docker ps -aq --filter name=@a --filter volume=/data/ | wc -l'),
        sh('docker ps -aq --filter name=@a --filter volume=/t | wc -l'),
        made('b', { Volumes: { '/anon': {} } }),
        get('/containers/json?all=1&filters={"name":["@b"]}', { only: ['Mounts'] }),
        get('/containers/@b/json', { only: ['Mounts'] }),
        sh('docker volume rm @v'),
        del('/volumes/@v?force=1'),
        sh('docker volume ls -q -f dangling=false -f name=@v'),
        sh('docker rm -v @a && docker volume ls -q -f name=@v -f name=@w', { sorted: true }),
        cleared('a', 'v', 'w'),
      ],
    },
    {
      name: 'data is kept',
      steps: [
        cleared('a', 'v'),
        sh(
          'docker run --rm -v @v:/data dt/busybox sh -c "echo hi > /data/f; ls -la /data | wc -l; stat -c %a:%u:%g /data"',
        ),
        sh('docker run --rm -v @v:/data:ro dt/busybox sh -c "cat /data/f; touch /data/g"'),
        sh('docker run --rm --mount type=volume,src=@v,dst=/x/y,readonly dt/busybox sh -c "cat /x/y/f; touch /x/y/g"'),
        sh('docker run --name @a -v @v:/data dt/busybox sh -c "echo more >> /data/f; echo x > /x"'),
        sh('docker diff @a', { sorted: true }),
        sh('docker export @a | tar -t | grep ^data'),
        sh('docker run --rm --volumes-from @a dt/busybox cat /data/f'),
        cleared('a', 'v'),
      ],
    },
    {
      name: 'what the image has',
      steps: [
        cleared('a', 'v', 'w'),
        sh(
          'docker run --rm -v @v:/etc dt/busybox sh -c "ls /etc/passwd /etc/shadow; stat -c %a:%u:%g /etc /etc/shadow"',
        ),
        sh('docker run --rm -v @w:/etc:nocopy dt/busybox sh -c "ls /etc"', { sorted: true }),
        sh('docker run --rm -v /etc dt/busybox sh -c "head -1 /etc/passwd"'),
        sh(
          'docker volume rm @w && docker volume create @w && docker create --name @a -v @w:/etc dt/busybox >/dev/null && docker run --rm -v @w:/w:ro dt/busybox ls /w/group /w/shadow',
        ),
        sh('docker run --rm -v @v:/bin dt/busybox true'),
        cleared('a', 'v', 'w'),
      ],
    },
    {
      name: 'volumes of others',
      steps: [
        cleared('a', 'b', 'c', 'v', 'w'),
        sh('docker create --name @a -v @v:/data -v /anon dt/busybox true >/dev/null'),
        sh('docker create --name @b --volumes-from @a:ro -v @w:/w dt/busybox true >/dev/null'),
        sh('docker create --name @c --volumes-from @b -v @w:/data dt/busybox true >/dev/null'),
        mounts('b'),
        mounts('c'),
        sh(`docker inspect -f '${HOST}' @b`),
        sh('docker volume rm @w'),
        sh('docker rm -v @a @b'),
        mounts('c'),
        sh('docker rm -v @c'),
        cleared('a', 'b', 'c', 'v', 'w'),
      ],
    },
    {
      name: 'removed with containers',
      steps: [
        cleared('a', 'v'),
        sh('docker run --rm --name @a -v @v:/data -v /anon dt/busybox true'),
        sh('docker volume ls -q -f name=@v'),
        post(
          '/containers/create?name=@a',
          { Image: 'dt/busybox', Cmd: ['true'], Volumes: { '/one': {}, '/two/../three': {} } },
          { only: [] },
        ),
        mounts('a'),
        sh(
          `one=$(docker inspect -f '{{range .Mounts}}{{.Name}} {{end}}' @a); docker rm @a; docker volume rm $one; docker volume rm $one`,
        ),
        made('a', { Volumes: { '/anon': {} } }),
        sh(`one=$(docker inspect -f '{{range .Mounts}}{{.Name}} {{end}}' @a); docker rm -v @a; docker volume rm $one`),
        cleared('a', 'v'),
      ],
    },
    {
      name: 'events',
      steps: [
        cleared('a', 'v'),
        sh('docker volume create @v', { quiet: true }),
        made('a', { Cmd: ['true'], HostConfig: { Binds: ['@v:/data:ro'] } }),
        started('a'),
        ended('a'),
        sh('docker rm @a && docker volume rm @v'),
        sh(
          `docker events --since {begin} --until {now} --filter volume=@v --format '{{.Type}} {{.Action}} {{.Actor.ID}} {{json .Actor.Attributes}}'`,
        ),
        sh(
          `docker events --since {begin} --until {now} --filter type=volume --filter volume=@v --filter event=mount --format '{{.Action}} {{.Type}}'`,
        ),
        cleared('a', 'v'),
      ],
    },
    {
      name: 'prune',
      steps: [
        cleared('v', 'w'),
        sh('docker volume create --label dt-prune=1 @v && docker volume create --label dt-prune=2 @w'),
        post('/volumes/prune?filters={"label":["dt-prune"]}'),
        post('/volumes/prune?filters={"label":["dt-prune=1"],"all":["true"]}'),
        post('/volumes/prune?filters={"label":["dt-prune=9"],"all":["true"]}'),
        post('/volumes/prune?filters={"all":["zz"]}'),
        post('/volumes/prune?filters={"label":["dt-prune"]}', undefined, { version: '1.41' }),
        sh('docker volume prune -f --filter label=dt-prune'),
        sh('docker volume prune -af --filter label=dt-prune'),
        cleared('v', 'w'),
      ],
    },
  ],
};
