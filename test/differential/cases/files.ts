/** `docker cp`, `diff`, `export`, `commit`. */
import { del, ended, get, head, made, post, put, type Subject, sh, started } from '../case.js';

const CHANGES =
  'mkdir /new; echo x > /new/file; rm /etc/group; echo y >> /etc/passwd; chmod 600 /etc/shadow; ln -s /etc /new/link';

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
          `cd $(mktemp -d) && echo hello > f && docker cp -q f @a:/tmp/ && docker exec @a sh -c 'cat /tmp/f; stat -c "%u %g %a" /tmp/f'`,
        ),
        sh('cd $(mktemp -d) && docker cp -q @a:/etc/passwd . && wc -l < passwd'),
        sh('docker cp @a:/nosuch /tmp/'),
        sh('cd $(mktemp -d) && echo x > f && docker cp f @a:/nosuch/dir/ 2>&1 | tail -1'),
        sh('cd $(mktemp -d) && echo x > f && docker cp -q f @a:/etc'),
        sh('cd $(mktemp -d) && mkdir d && docker cp d @a:/etc/passwd 2>&1 | tail -1'),
        sh('docker cp nosuch:/etc/passwd /tmp/'),
        sh('docker cp @a:/etc/passwd - | tar -t'),
        sh('docker cp @a:/var - | tar -t'),
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
        sh('cd $(mktemp -d) && echo put > f && docker cp -q f @a:/tmp/f && docker cp @a:/tmp/f - | tar -xO'),
        put('/containers/@a/archive?path=/nosuch', ''),
        get('/containers/@a/changes', { sorted: true }),
        sh('docker export @a | tar -xO made tmp/f'),
        sh('docker commit -m paused @a dt/paused >/dev/null'),
        sh("docker inspect -f '{{.State.Status}} {{.State.Running}} {{.State.Paused}}' @a"),
        sh('docker top @a -o pid,args | tail -1 | tr -s " " | cut -d" " -f2-'),
        sh(
          'docker events --since {begin} --until $(date +%s) --filter container=@a --filter event=pause --filter event=unpause --format "{{.Action}}"',
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
