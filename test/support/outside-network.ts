/**
 * A network outside of the engine, behind an interface of the machine that the test makes and takes away again: a namespace with a host, and
 * a DHCP server if it is wanted.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Outcome, run } from './stack.js';

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });

/** See the file's head. Its host has the first address of 10.77.0.0/24. */
export class OutsideNetwork {
  static readonly HOST = '10.77.0.1';
  /** The machine's interface to it. */
  readonly interface = `cso${process.pid}`.slice(0, 15);
  private readonly namespace = `cs-outside-${process.pid}`;
  private readonly directory = mkdtempSync(join(tmpdir(), 'caisson-outside-'));
  private server: ChildProcess | undefined;

  constructor() {
    ip('netns', 'add', this.namespace);
    ip('-n', this.namespace, 'link', 'set', 'lo', 'up');
    this.plugIn();
  }

  /** Makes the interface, also again. */
  plugIn(): void {
    ip('link', 'add', this.interface, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', this.namespace);
    ip('link', 'set', this.interface, 'up');
    ip('-n', this.namespace, 'address', 'add', `${OutsideNetwork.HOST}/24`, 'dev', 'eth0');
    ip('-n', this.namespace, 'link', 'set', 'eth0', 'up');
  }

  /** Takes the interface away, as if a card were pulled out of the machine. */
  pullOut(): void {
    ip('link', 'delete', this.interface);
  }

  /** A DHCP server that knows nobody yet, instead of an earlier one. @param first the last part of its first address @param seconds of a lease */
  async serve(first: number, seconds: number): Promise<void> {
    await this.stopServing();
    const lines = [
      ...[`start 10.77.0.${first}`, `end 10.77.0.${first + 9}`, 'interface eth0'],
      ...[`lease_file ${this.directory}/leases`, `pidfile ${this.directory}/pid`],
      ...['option subnet 255.255.255.0', `option router ${OutsideNetwork.HOST}`, `option dns ${OutsideNetwork.HOST}`],
      `option lease ${seconds}`,
    ];
    writeFileSync(join(this.directory, 'conf'), `${lines.join('\n')}\n`);
    writeFileSync(join(this.directory, 'leases'), '');
    this.server = spawn('ip', [...this.inside, 'busybox', 'udhcpd', '-f', join(this.directory, 'conf')], {
      stdio: 'ignore',
    });
  }

  /** What the server thinks who has which address. */
  async leases(): Promise<string> {
    this.server?.kill('SIGUSR1');
    // It writes them down in its own time.
    await new Promise((resolve) => setTimeout(resolve, 200));
    return (await run('busybox', ['dumpleases', '-f', join(this.directory, 'leases')])).stdout;
  }

  async stopServing(): Promise<void> {
    const server = this.server;
    this.server = undefined;
    if (server === undefined || server.exitCode !== null) return;
    const ended = new Promise((resolve) => server.once('exit', resolve));
    server.kill('SIGTERM');
    await ended;
  }

  /** Runs a command on its host. */
  run(...command: string[]): Promise<Outcome> {
    return run('ip', [...this.inside, ...command]);
  }

  /** What a connection from there to that port brings; '' if there is none. */
  async asked(address: string, port: number): Promise<string> {
    return (await this.run('timeout', '4', 'busybox', 'nc', address, String(port))).stdout.trim();
  }

  /** Listens there, and answers the first connection with a word. */
  listen(port: number, word: string): ChildProcess {
    return spawn('ip', [...this.inside, 'sh', '-c', `echo ${word} | busybox nc -l -p ${port}`], { stdio: 'ignore' });
  }

  async remove(): Promise<void> {
    await this.stopServing();
    if (existsSync(`/sys/class/net/${this.interface}`)) this.pullOut();
    if (existsSync(`/run/netns/${this.namespace}`)) ip('netns', 'delete', this.namespace);
    rmSync(this.directory, { recursive: true, force: true });
  }

  private get inside(): string[] {
    return ['netns', 'exec', this.namespace];
  }
}
