/**
 * The programs of an ordinary web application, from Debian's packages: nginx in front of an application (a CGI script) that counts visits
 * in Redis and reads from PostgreSQL. `/start-front`, `/start-api`, `/start-cache` and `/start-db` start them.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { packagesLayer } from './debian-packages.js';
import { TarBuilder } from './tar-builder.js';

const run = promisify(execFile);
const SCRIPT = { mode: 0o755 };

const START_DB = `#!/bin/bash
set -e
data=/var/lib/postgresql/data
if [ ! -e $data/PG_VERSION ]; then
  initdb -D $data -A trust -E UTF8 --locale=C -U app >/dev/null
  echo "host all all all trust" >>$data/pg_hba.conf
fi
exec postgres -D $data -c listen_addresses='*' -c unix_socket_directories=/tmp -c fsync=off
`;
const START_CACHE = `#!/bin/bash
exec redis-server --bind 0.0.0.0 --protected-mode no --save "" --dir /tmp
`;
const START_API = `#!/bin/bash
set -e
psql -qX -h db -U app -d postgres -c "create table if not exists greetings (text text)" \\
  -c "insert into greetings select 'hello from the database' where not exists (select 1 from greetings)"
exec /busybox httpd -f -p 8000 -h /srv
`;
const API = `#!/bin/bash
visits=$(redis-cli -h cache incr visits)
greeting=$(psql -qXAt -h db -U app -d postgres -c "select text from greetings")
printf 'Content-Type: text/plain\\r\\n\\r\\n%s visits, %s, %s\\n' "$visits" "$greeting" "$HOSTNAME"
`;
/** Names are looked up again for each request, so that a service that was scaled or made anew is found: hence 127.0.0.11. */
const NGINX = `daemon off;
pid /tmp/nginx.pid;
error_log stderr;
events {}
http {
  access_log /dev/stdout;
  resolver 127.0.0.11 valid=1s;
  server {
    listen 8080;
    set $api api;
    location = /alive { return 200 "alive\\n"; }
    location / { proxy_pass http://$api:8000/cgi-bin/greet; proxy_connect_timeout 5s; }
  }
}
`;
const PASSWD = [
  'root:x:0:0:root:/root:/bin/bash',
  'postgres:x:101:101::/var/lib/postgresql:/bin/bash',
  'nobody:x:65534:65534::/:/bin/false',
];

/** The layers above the `debian` image's. `key` changes whenever `programs` would. */
export async function servicesLayers(): Promise<{
  key: string;
  programs(): Promise<Buffer>;
  files(): Promise<Buffer>;
}> {
  const version = await postgresVersion();
  const packages = [
    ...[`postgresql-${version}`, `postgresql-client-${version}`, 'redis-server', 'redis-tools'],
    ...['nginx', 'nginx-common'],
  ];
  return {
    key: createHash('sha256').update(packages.join(' ')).digest('hex').slice(0, 12),
    programs: () => packagesLayer(packages),
    files: () => files(version),
  };
}

async function files(version: string): Promise<Buffer> {
  return new TarBuilder()
    .file('busybox', await readFile('/bin/busybox'), SCRIPT)
    .file('start-db', START_DB, SCRIPT)
    .file('start-cache', START_CACHE, SCRIPT)
    .file('start-api', START_API, SCRIPT)
    .file('start-front', '#!/bin/bash\nmkdir -p /var/log/nginx /var/lib/nginx\nexec nginx -c /etc/front.conf\n', SCRIPT)
    .directory('srv')
    .directory('srv/cgi-bin')
    .file('srv/cgi-bin/greet', API, SCRIPT)
    .file('etc/front.conf', NGINX)
    .file('etc/passwd', `${PASSWD.join('\n')}\n`)
    .file('etc/group', 'root:x:0:\npostgres:x:101:\nnogroup:x:65534:\n')
    .symlink('usr/lib/postgresql/bin', `${version}/bin`)
    .directory('var/lib/postgresql', { uid: 101, gid: 101 })
    .directory('var/lib/postgresql/data', { mode: 0o700, uid: 101, gid: 101 })
    .build();
}

/** `postgresql` stands for the release's version of it. */
async function postgresVersion(): Promise<string> {
  const { stdout } = await run('apt-cache', ['depends', 'postgresql']);
  const version = /Depends: postgresql-(\d+)/.exec(stdout)?.[1];
  if (version === undefined) throw new Error('there is no package postgresql');
  return version;
}
