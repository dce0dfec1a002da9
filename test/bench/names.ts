/**
 * How long the server of names takes for an answer: over UDP on the loopback, with a thousand containers on a network. By itself, since a
 * question from a container is mostly the time of its VM: `node dist/test/bench/names.js`.
 */
import { createSocket } from 'node:dgram';
import packet from 'dns-packet';
import { NamesServer } from '../../appliance/gateway/names/names-server.js';
import { listen } from '../../appliance/gateway/names/sockets.js';
import { network } from '../../appliance/gateway/names/upstream.js';

const CONTAINERS = 1000;
const QUESTIONS = 5000;
const PORT = 5399;
const ASKER = '127.0.0.1';

const server = new NamesServer({
  transport: network,
  now: () => performance.now(),
  report: async () => undefined,
  refused: () => undefined,
});
const containers = Array.from({ length: CONTAINERS }, (_, n) => ({
  id: `c${n}`,
  members: [
    {
      network: 'n',
      addresses: [n === 0 ? ASKER : `10.0.${n >> 8}.${n & 255}`],
      names: [`web-${n}`, 'all', `alias-${n}`],
      links: [],
    },
  ],
  servers: null,
  lookups: null,
}));
const began = performance.now();
server.apply({
  whole: true,
  networks: [{ id: 'n', name: 'net', named: true, forwards: true }],
  servers: [],
  containers,
  gone: [],
  reported: [],
});
console.log(`a table of ${CONTAINERS} containers: ${(performance.now() - began).toFixed(1)} ms`);
const listening = await listen(server, [{ address: ASKER, port: PORT }]);

const socket = createSocket('udp4');
const times: number[] = [];
for (let n = 0; n < QUESTIONS; n++) {
  const questions = [{ type: 'A' as const, name: `web-${n % CONTAINERS}`, class: 'IN' as const }];
  const question = packet.encode({ type: 'query', id: n, flags: packet.RECURSION_DESIRED, questions });
  const sent = performance.now();
  await new Promise<void>((answered) => {
    socket.once('message', () => answered());
    socket.send(question, PORT, ASKER);
  });
  times.push(performance.now() - sent);
}
times.sort((one, other) => one - other);
const at = (part: number): string => times[Math.floor((times.length - 1) * part)]!.toFixed(3);
console.log(`an answer about a container: median ${at(0.5)} ms, 95 % ${at(0.95)} ms, longest ${at(1)} ms`);
socket.close();
listening.close();
