/** `docker cp`, `diff`, `export`, `commit`. */
import { del, ended, get, head, made, post, put, type Subject, sh, started } from '../case.js';

const CHANGES =
  'mkdir /new; echo x > /new/file; rm /etc/group; echo y >> /etc/passwd; chmod 600 /etc/shadow; ln -s /etc /new/link';

/** Entries of an archive by the types of tar (POSIX.1-1988: 0 file, 1 link, 2 symbolic link, 5 directory, 6 fifo), put into a read-only volume. */
const BAD_ENTRIES = (
  [
    ['q/y', '0', ''],
    ['q/d', '5', ''],
    ['q/s', '2', 'x'],
    ['hl', '1', 'none'],
    ['q/p', '6', ''],
    ['q', '5', ''],
    ['etc/passwd/x', '0', ''],
  ] as const
).map(([name, type, link]) =>
  put('/containers/@a/archive?path=/', tarText(name, type, link), { headers: { 'content-type': 'application/x-tar' } }),
);

/** Entries that are the destination itself, or lie outside it: name, type, target of a link, further query. */
const ENTRIES_OF_ROOT = (
  [
    ['.', '0', '', ''],
    ['', '0', '', ''],
    ['/', '0', '', ''],
    ['./.', '0', '', ''],
    ['x/..', '0', '', ''],
    ['.', '2', 'etc', ''],
    ['.', '1', 'etc', ''],
    ['.', '6', '', '&noOverwriteDirNonDir=1'],
    ['.', '5', '', '&copyUIDGID=1'],
    ['//abs', '0', '', ''],
    ['..', '0', '', ''],
    ['..', '5', '', ''],
    ['x/../..', '0', '', ''],
    ['hl', '1', '.', ''],
    ['hl', '1', 'x/..', ''],
    ['hl', '1', '../etc', ''],
    ['tmp', '0', '', '&noOverwriteDirNonDir=1'],
  ] as const
).flatMap(([name, type, link, query]) =>
  ['/', '/tmp', '/vp'].map((path) =>
    put(`/containers/@a/archive?path=${path}${query}`, tarText(name, type, link), {
      headers: { 'content-type': 'application/x-tar' },
    }),
  ),
);

const SEEN_AFTER = sh(
  'docker exec @a sh -c "ls / /bin | wc -l; ls -la /tmp | tail -n +4 | wc -l; ls /vp /vp/v; stat -c %a:%u /abs /tmp /vp /tmp/abs"',
);

/** An archive of one entry, as a text: it has no bytes above 127. */
function tarText(name: string, type: string, link: string): string {
  const head = (sum: string): string =>
    [
      name.padEnd(100, '\0'),
      '0000644\0' + '0000005\0' + '0000005\0' + '00000000000\0' + '00000000000\0',
      sum,
      type,
      link.padEnd(100, '\0'),
      'ustar\0' + '00',
    ]
      .join('')
      .padEnd(512, '\0');
  const sum = [...head('        ')].reduce((total, char) => total + char.charCodeAt(0), 0);
  return head(`${sum.toString(8).padStart(6, '0')}\0 `) + '\0'.repeat(1024);
}

export const files: Subject = {
  name: 'files',
  cases: [
    {
      name: 'archive of a container that never ran',
      steps: [
        made('a'),
        get('/containers/@a/archive?path=/etc/passwd'),
        get('/containers/@a/archive?path=/etc'),
        get('/containers/@a/archive?path=/etc/.'),
        get('/containers/@a/archive?path=etc/passwd', { only: [] }),
        head('/containers/@a/archive?path=/etc/passwd'),
        head('/containers/@a/archive?path=/etc'),
        head('/containers/@a/archive?path=/nosuch'),
        get('/containers/@a/archive?path=/nosuch'),
        get('/containers/@a/archive?path='),
        get('/containers/@a/archive'),
        put('/containers/@a/archive?path=/nosuch', ''),
        put('/containers/@a/archive?path=/etc/passwd', ''),
        put('/containers/@a/archive', ''),
        put('/containers/@a/archive?path=/tmp', 'this is no tar archive'),
        put('/containers/@a/archive?path=/tmp', ''),
      ],
    },
    {
      name: 'copying both ways',
      steps: [
        made('a'),
        started('a'),
        sh(
          `cd $(mktemp -d) && echo hello > f && docker cp f @a:/tmp/ && docker exec @a sh -c 'cat /tmp/f; stat -c "%u %g %a" /tmp/f'`,
        ),
        sh('cd $(mktemp -d) && docker cp @a:/etc/passwd . && wc -l < passwd'),
        sh('docker cp @a:/nosuch /tmp/'),
        sh('cd $(mktemp -d) && echo x > f && docker cp f @a:/nosuch/dir/ 2>&1 | tail -1'),
        sh('cd $(mktemp -d) && echo x > f && docker cp f @a:/etc'),
        sh('cd $(mktemp -d) && mkdir d && docker cp d @a:/etc/passwd 2>&1 | tail -1'),
        sh('docker cp nosuch:/etc/passwd /tmp/'),
        sh('docker cp @a:/etc/passwd - | tar -t'),
        sh('docker cp @a:/var - | tar -t'),
      ],
    },
    {
      name: 'what cannot be unpacked',
      steps: [
        made('a', { HostConfig: { Binds: ['dt-read:/q:ro'] } }),
        ...BAD_ENTRIES,
        started('a'),
        ...BAD_ENTRIES,
        sh('docker rm -f @a && docker volume rm dt-read', { quiet: true }),
      ],
    },
    {
      name: 'across volumes of a container that does not run',
      steps: [
        made('s', { HostConfig: { Binds: ['dt-r:/r'] } }),
        sh('echo seed > /tmp/dt-seed && docker cp /tmp/dt-seed @s:/r/seed && rm /tmp/dt-seed && docker rm @s', {
          quiet: true,
        }),
        made('a', {
          Cmd: ['sh', '-c', 'cd /data; find . | sort; cat f sub/deep/g viaLink x2 /ro/seed /a/b/c/seed'],
          HostConfig: { Binds: ['dt-v:/data', 'dt-w:/data/sub/deep', 'dt-r:/ro:ro', 'dt-r:/a/b/c'] },
        }),
        sh('cd $(mktemp -d) && echo hello > f && docker cp f @a:/data/f && docker cp f @a:/data/sub/deep/g'),
        sh('cd $(mktemp -d) && echo hello > f && docker cp f @a:/ro/x; docker cp f @a:/ro'),
        sh(
          'cd $(mktemp -d) && ln -s /etc/passwd abs; ln -s ../etc/passwd rel; ln -s /data/sub/deep/g into; ln -s f here; tar -c abs rel into here | docker cp - @a:/data',
        ),
        sh('docker cp -L @a:/data/abs - | tar -xO | head -1'),
        sh('docker cp -L @a:/data/rel - | tar -xO | head -1'),
        sh('docker cp -L @a:/data/into - | tar -xO'),
        sh('docker cp -L @a:/data/here - | tar -xO'),
        sh("docker cp @a:/data/into - | tar -tv | tr -s ' ' | cut -d' ' -f1,6-"),
        sh('cd $(mktemp -d) && ln -s /data toData; ln -s data/sub toSub; tar -c toData toSub | docker cp - @a:/'),
        sh('cd $(mktemp -d) && echo hello > f && docker cp f @a:/toData/viaLink'),
        sh('docker cp @a:/toSub/deep/g - | tar -xO'),
        sh('cd $(mktemp -d) && echo hello > f && docker cp f @a:/toData/sub/deep/../../x2'),
        sh('docker cp @a:/data - | tar -t | sort'),
        sh("docker cp @a:/a - | tar -tv | tr -s ' ' | cut -d' ' -f1,2,6- | sort"),
        sh('cd $(mktemp -d) && echo x > data && tar -c data | docker cp - @a:/'),
        sh('cd $(mktemp -d) && mkdir d && echo x > d/sub && tar -C d -c sub | docker cp - @a:/data'),
        head('/containers/@a/archive?path=/data/sub/deep/g'),
        head('/containers/@a/archive?path=/data/into'),
        get('/containers/@a/archive?path=/data/nosuch'),
        put('/containers/@a/archive?path=/data/f', ''),
        put('/containers/@a/archive?path=/ro', ''),
        sh('docker start -a @a'),
        sh('docker rm -f @a && docker volume rm dt-v dt-w dt-r', { quiet: true }),
      ],
    },
    {
      name: 'entries that are the destination',
      steps: [
        made('a', { HostConfig: { Binds: ['dt-vp:/vp/v'] } }),
        ...ENTRIES_OF_ROOT.slice(0, 6),
        started('a'),
        sh('docker exec @a touch /vp/v/file'),
        ...ENTRIES_OF_ROOT,
        SEEN_AFTER,
        sh('docker pause @a', { quiet: true }),
        ...ENTRIES_OF_ROOT.slice(0, 6),
        sh('docker unpause @a', { quiet: true }),
        SEEN_AFTER,
        sh('docker rm -f @a && docker volume rm dt-vp', { quiet: true }),
      ],
    },
    {
      name: 'of a paused container',
      steps: [
        made('a'),
        started('a'),
        sh('docker exec @a sh -c "echo x > /made; rm /etc/group" && docker pause @a'),
        get('/containers/@a/archive?path=/made', { only: [] }),
        head('/containers/@a/archive?path=/etc'),
        sh('docker cp @a:/made - | tar -xO'),
        sh('cd $(mktemp -d) && echo put > f && docker cp f @a:/tmp/f && docker cp @a:/tmp/f - | tar -xO'),
        put('/containers/@a/archive?path=/nosuch', ''),
        get('/containers/@a/changes', { sorted: true }),
        sh('docker export @a | tar -xO made tmp/f'),
        sh('docker commit -m paused @a dt/paused >/dev/null'),
        sh("docker inspect -f '{{.State.Status}} {{.State.Running}} {{.State.Paused}}' @a"),
        sh('docker top @a -o pid,args | tail -1 | tr -s " " | cut -d" " -f2-'),
        sh(
          'docker events --since {begin} --until $(date +%s.%N) --filter container=@a --filter event=pause --filter event=unpause --format "{{.Action}}"',
        ),
        sh('docker unpause @a && docker exec @a cat /tmp/f && docker run --rm dt/paused cat /made /tmp/f'),
        sh('docker rmi dt/paused >/dev/null', { quiet: true }),
      ],
    },
    {
      name: 'changes',
      steps: [
        made('a', { Cmd: ['sh', '-c', CHANGES] }),
        get('/containers/@a/changes'),
        started('a'),
        ended('a'),
        get('/containers/@a/changes', { sorted: true }),
        sh('docker diff @a', { sorted: true }),
        sh(`docker export @a | tar -tv | grep -E ' (new|etc)/' | tr -s ' ' | cut -d' ' -f1,2,6- | sort`),
        sh('docker export nosuch'),
      ],
    },
    {
      name: 'commit',
      steps: [
        made('a', { Cmd: ['sh', '-c', CHANGES], Env: ['A=1'], Labels: { k: 'v' } }),
        started('a'),
        ended('a'),
        post('/commit?container=@a&repo=dt/made&tag=one&author=me&comment=why', undefined, { keep: { id: 'Id' } }),
        get('/images/dt/made:one/json'),
        get('/images/dt/made:one/history'),
        post('/commit?container=@a&repo=dt/made&tag=two&changes=CMD%20["x"]&changes=ENV%20B=2&changes=NOSUCH%20x', {}),
        post(
          '/commit?container=@a&repo=dt/made&tag=two&changes=CMD%20["x"]&changes=ENV%20B=2&changes=LABEL%20l=1&changes=USER%2033&changes=WORKDIR%20/w&changes=EXPOSE%2080&changes=VOLUME%20/v&changes=ENTRYPOINT%20["e"]&changes=STOPSIGNAL%20SIGINT',
          {},
        ),
        get('/images/dt/made:two/json', { only: ['Config', 'Author', 'Comment', 'Os', 'Architecture'] }),
        post('/commit?container=@a&repo=UPPER', {}),
        post('/commit?container=@a&repo=dt/made&tag=a/b', {}),
        post('/commit', {}),
        made('b', { Image: 'dt/made:one', Cmd: ['cat', '/new/file'] }),
        sh('docker start -a @b'),
        del('/images/dt/made:one'),
        del('/containers/@b', { quiet: true }),
        sh('docker rmi -f dt/made:one dt/made:two >/dev/null 2>&1; true', { quiet: true }),
      ],
    },
  ],
};
