/** What containers are told of names, by busybox's own lookups. Addresses differ between engines, so each is shown as one word. */
import { type ScriptStep, type Subject, sh } from '../case.js';
import { cleared } from './networks.js';

/** Lookups by one container. */
const asks = (container: string, type: string, ...names: string[]): ScriptStep =>
  sh(
    `for name in ${names.join(' ')}; do docker exec ${container} nslookup -type=${type} $name 2>&1 | grep -E '^Name|^Address: [^:]*$|name =' | sed -E 's/[0-9]+(\\.[0-9]+){3}$/ADDRESS/; s/^Address: fd.*/SIX/; s/^[^ ]*arpa/ARPA/'; done`,
    { sorted: true },
  );
const up = (name: string, options: string): ScriptStep =>
  sh(`docker run -d --name ${name} ${options} dt/busybox sleep 100000`, { quiet: true });

export const dns: Subject = {
  name: 'dns',
  cases: [
    {
      name: 'names on a network',
      steps: [
        cleared('n', 'm', 'a', 'b', 'c'),
        sh('docker network create @n; docker network create --internal @m', { quiet: true }),
        up('@a', '--network @n --network-alias web --network-alias same --hostname Host'),
        up('@b', '--network @n --network-alias same --link @a:site'),
        up('@c', '--network @m'),
        asks('@b', 'a', '@a', 'web', 'WEB', 'same', 'host', 'site', '@a.@n', 'web.@n'),
        asks('@a', 'a', 'site', '@c', '@b'),
        asks('@c', 'a', '@a', '@c'),
        sh('docker exec @b tail -n +4 /etc/resolv.conf | grep -v ExtServers'),
        sh('docker rename @a @d; docker network connect --alias joined @m @b', { quiet: true }),
        asks('@b', 'a', '@a', '@d', '@c', 'site'),
        asks('@c', 'a', 'joined', '@b'),
        sh('docker network disconnect @m @b; docker stop -t 0 @d', { quiet: true }),
        asks('@b', 'a', '@c', '@d', 'web'),
        sh('docker rm -f @d', { quiet: true }),
        cleared('a', 'b', 'c'),
        cleared('n', 'm'),
      ],
    },
    {
      name: 'resolv.conf',
      steps: [
        cleared('n', 'a'),
        sh('docker network create @n', { quiet: true }),
        ...[
          '--dns 192.0.2.53',
          '--dns 192.0.2.53 --dns 192.0.2.54 --dns-search example.com --dns-search b.c',
          '--dns-opt ndots:3 --dns 192.0.2.53',
          '--dns-opt rotate --dns-opt timeout:1 --dns 192.0.2.53',
          '--dns-search . --dns 192.0.2.53',
        ].map((options) => sh(`docker run --rm --network @n ${options} dt/busybox cat /etc/resolv.conf`)),
        cleared('n', 'a'),
      ],
    },
  ],
};
