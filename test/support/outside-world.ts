/** A network outside of this machine, for what containers reach through it: a namespace with a server, joined by a pair of interfaces. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';

/** Sends a little, 20 times a second, to whoever connects. */
const SERVER = `
const part = Buffer.alloc(32768, 'x');
require('node:net').createServer((socket) => {
  const timer = setInterval(() => { if (socket.writableLength < 1 << 20) socket.write(part); }, 50);
  socket.on('error', () => undefined).on('close', () => clearInterval(timer)).resume().write(part);
}).listen(Number(process.argv[1]), '0.0.0.0', () => console.log('ready'));
`;

export interface OutsideWorld {
  /** Of the server. A documentation address, assigned to nobody (RFC 5737). */
  address: string;
  port: number;
  /** The machine’s own address on that network. */
  machine: string;
  /** The path of its network namespace. */
  netns: string;
  /** Removes it, and its interface of this machine with it. */
  remove(): Promise<void>;
}

export async function openOutsideWorld(): Promise<OutsideWorld> {
  const name = `caisson-out-${process.pid}`;
  const card = `cout${process.pid}`.slice(0, 15);
  // Of a /30 that no other test uses: the machine's own address in it is the one after.
  const used = execFileSync('ip', ['-o', '-4', 'address'], { encoding: 'utf8' });
  const slots = Array.from({ length: 60 }, (_, index) => 4 * ((process.pid + index) % 60));
  const slot = slots.find((one) => !used.includes(` 198.51.100.${one + 2}/`)) ?? 0;
  const [address, own] = [`198.51.100.${slot + 1}`, `198.51.100.${slot + 2}`];
  const port = 7000;
  const ip = (words: string): unknown => execFileSync('ip', words.split(' '), { stdio: ['ignore', 'ignore', 'pipe'] });
  let server: ChildProcess | null = null;
  const remove = async (): Promise<void> => {
    if (server !== null && server.exitCode === null) {
      server.kill('SIGKILL');
      await once(server, 'close');
    }
    ip(`netns delete ${name}`);
  };
  ip(`netns add ${name}`);
  try {
    ip(`link add ${card} type veth peer name eth0 netns ${name}`);
    ip(`address add ${own}/30 dev ${card}`);
    ip(`link set ${card} up`);
    ip(`-n ${name} address add ${address}/30 dev eth0`);
    for (const one of ['lo', 'eth0']) ip(`-n ${name} link set ${one} up`);
    const netns = `/run/netns/${name}`;
    server = spawn('nsenter', [`--net=${netns}`, '--', process.execPath, '-e', SERVER, String(port)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(server.stdout!, 'data');
    return { address, port, machine: own, netns, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}
