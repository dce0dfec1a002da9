/** Network namespaces joined by a bridge, for tests of what passes it. Needs root; nothing outside them is touched. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Answers TCP and UDP on these ports with the peer's address. */
const SERVER = `
const net = require('node:net'), dgram = require('node:dgram');
for (const port of process.argv.slice(1).map(Number)) {
  net.createServer({ allowHalfOpen: true }, (s) => { s.on('error', () => {}); s.on('data', (d) => s.write(d)); s.on('end', () => s.end()); }).listen(port, '::');
  const u = dgram.createSocket({ type: 'udp6' });
  u.on('message', (m, from) => u.send(m, from.port, from.address));
  u.bind(port, '::');
}
setTimeout(() => console.log('ready'), 200);
`;
/** Says how a try ended: ok, refused, unreachable or silence. */
const CLIENT = `
const [kind, host, port, source] = process.argv.slice(1);
const end = (word) => { console.log(word); process.exit(0); };
setTimeout(() => end('silence'), 1500);
const words = { ECONNREFUSED: 'refused', ECONNRESET: 'refused', EHOSTUNREACH: 'unreachable', EACCES: 'refused', ENETUNREACH: 'unreachable' };
const failed = (e) => end(words[e.code] ?? e.code);
if (kind === 'tcp') {
  const s = require('node:net').connect({ host, port: Number(port) }, () => s.write('x'));
  s.on('data', () => end('ok')).on('error', failed);
} else {
  const u = require('node:dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4');
  u.on('message', () => end('ok')).on('error', failed);
  u.bind(Number(source ?? 0), () => { u.setBroadcast(true); u.send('x', Number(port), host, (e) => e && failed(e)); });
}
`;

/** An echo request (RFC 792) with its checksum, from a raw socket: not every machine has `ping`. */
const PING = `use Socket; my ($to) = @ARGV; socket(my $s, PF_INET, SOCK_RAW, 1) or die; my $sum = 0x0800 + $$ % 65536; $sum = ($sum & 0xffff) + ($sum >> 16);
send($s, pack("CCnnn", 8, 0, ~$sum & 0xffff, $$ % 65536, 0), 0, sockaddr_in(0, inet_aton($to)));
my $end = time + 2; my $r = ""; vec($r, fileno($s), 1) = 1;
while (time < $end && select(my $n = $r, undef, undef, 1)) { recv($s, my $p, 1500, 0); if (ord(substr($p, 20, 1)) == 0) { print "answer"; exit } }
print "silence";`;

/** A host on the bridge. */
export interface TestHost {
  name: string;
  /** Its port on the bridge. */
  port: string;
  mac: string;
  address4: string;
  address6: string;
}

/** A bridge in a namespace of its own, and hosts in theirs. */
export class TestBridge {
  readonly namespace: string;
  private readonly children: ChildProcess[] = [];
  private readonly names: string[] = [];

  constructor(readonly prefix: string) {
    this.namespace = `${prefix}sw`;
  }

  get path(): string {
    return `/run/netns/${this.namespace}`;
  }

  open(): void {
    this.make(this.namespace);
    this.inside(this.namespace, 'ip', 'link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0');
    this.inside(this.namespace, 'ip', 'link', 'set', 'br0', 'up');
  }

  /** @param number 1 to 99 */
  host(number: number): TestHost {
    const name = `${this.prefix}h${number}`;
    const two = String(number).padStart(2, '0');
    const [port, mac] = [`t${number}n0`, `02:00:00:00:00:${two}`];
    const host = { name, port, mac, address4: `172.31.0.${number}`, address6: `fd77::${number}` };
    this.make(name);
    const ip = (...args: string[]): string => this.inside(name, 'ip', ...args);
    this.inside(this.namespace, 'ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
    this.inside(this.namespace, 'ip', 'link', 'set', port, 'master', 'br0', 'up');
    ip('link', 'set', 'eth0', 'address', mac, 'up');
    ip('addr', 'add', `${host.address4}/24`, 'dev', 'eth0');
    if (existsSync('/proc/sys/net/ipv6')) ip('-6', 'addr', 'add', `${host.address6}/64`, 'dev', 'eth0', 'nodad');
    return host;
  }

  /** Runs a command in a namespace. @throws if it fails */
  inside(namespace: string, program: string, ...args: string[]): string {
    return execFileSync('nsenter', [`--net=/run/netns/${namespace}`, '--', program, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Answers on these ports until {@link close}. */
  async serve(namespace: string, ...ports: number[]): Promise<void> {
    const child = this.start(namespace, process.execPath, '-e', SERVER, ...ports.map(String));
    await new Promise<void>((resolve) => child.stdout!.once('data', () => resolve()));
  }

  /** Starts a process that {@link close} ends. */
  start(namespace: string, program: string, ...args: string[]): ChildProcess {
    const child = spawn('nsenter', [`--net=/run/netns/${namespace}`, '--', program, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.children.push(child);
    return child;
  }

  /** How a try to reach a server ends: `ok`, `refused`, `unreachable` or `silence`. */
  async reach(namespace: string, kind: 'tcp' | 'udp', host: string, port: number, source?: number): Promise<string> {
    const args = ['-e', CLIENT, kind, host, String(port), ...(source === undefined ? [] : [String(source)])];
    const child = this.start(namespace, process.execPath, ...args);
    let text = '';
    child.stdout!.on('data', (part: Buffer) => (text += part));
    await new Promise((resolve) => child.once('close', resolve));
    return text.trim();
  }

  /** True if an echo request is answered (IPv4). */
  pings(namespace: string, address: string): boolean {
    return this.inside(namespace, 'perl', '-e', PING, address) === 'answer';
  }

  async close(): Promise<void> {
    for (const child of this.children) child.kill('SIGKILL');
    await sleep(50);
    for (const name of this.names) execFileSync('ip', ['netns', 'delete', name]);
  }

  private make(name: string): void {
    execFileSync('ip', ['netns', 'add', name]);
    this.names.push(name);
    this.inside(name, 'ip', 'link', 'set', 'lo', 'up');
  }
}
