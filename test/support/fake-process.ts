/**
 * A container's process for tests without virtual machines: a child process of the test, run on the machine itself. Its
 * output is kept as a log and given to attached readers. A terminal is provided by `script` (1).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { Readable, Writable } from 'node:stream';
import type { OutputChunk } from '../../port-layer/index.js';
import type { ProcessSpec } from '../../tether/program/spec.js';

/** Why a process was not started, as the guest reports it. */
export class NotStarted extends Error {
  constructor(
    readonly exitCode: number,
    readonly reason: string,
  ) {
    super(reason);
  }
}

const quote = (arg: string): string => `'${arg.replaceAll("'", `'\\''`)}'`;

/** @throws NotStarted as the guest reports it */
function find(spec: ProcessSpec): void {
  const [command = ''] = spec.args;
  const path = spec.env.find((entry) => entry.startsWith('PATH='))?.slice(5) ?? '';
  const candidates = command.includes('/') ? [command] : path.split(':').map((directory) => `${directory}/${command}`);
  for (const candidate of candidates) {
    const found = statSync(candidate, { throwIfNoEntry: false });
    if (found === undefined) continue;
    try {
      accessSync(candidate, constants.X_OK);
      if (found.isFile()) return;
    } catch {
      // Reported below.
    }
    throw new NotStarted(126, `exec: "${command}": permission denied`);
  }
  throw new NotStarted(
    127,
    command.includes('/')
      ? `exec: "${command}": stat ${command}: no such file or directory`
      : `exec: "${command}": executable file not found in $PATH`,
  );
}

/** A process that is running or has ended. */
export class FakeProcess {
  readonly log: OutputChunk[] = [];
  readonly over: Promise<number>;
  readonly pid: number;
  sizes: { rows: number; cols: number }[] = [];
  private readonly attached = new Set<Readable>();
  private readonly child: ChildProcess;
  private ended = false;

  /** @throws NotStarted */
  constructor(spec: ProcessSpec) {
    find(spec);
    const [command = '', ...args] = spec.tty
      ? ['script', '-qfec', `stty -echo; exec ${spec.args.map(quote).join(' ')}`, '/dev/null']
      : spec.args;
    const env = Object.fromEntries(spec.env.map((entry) => entry.split(/=(.*)/s).slice(0, 2)));
    this.child = spawn(command, args, {
      env,
      cwd: '/',
      detached: true,
      stdio: [spec.openStdin ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    });
    this.pid = this.child.pid ?? 0;
    this.child.stdin?.on('error', () => undefined);
    this.child.stdout!.on('data', (data: Buffer) => this.push('stdout', data));
    this.child.stderr!.on('data', (data: Buffer) => this.push(spec.tty ? 'stdout' : 'stderr', data));
    this.over = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        this.ended = true;
        for (const reader of this.attached) reader.push(null);
        resolve(code ?? 128 + (signal === null ? 0 : osConstants.signals[signal]));
      });
    });
  }

  private push(stream: OutputChunk['stream'], data: Buffer): void {
    const timeNs = BigInt(Date.now()) * 1_000_000n;
    const chunk: OutputChunk = { stream, data, timeNs, offset: this.log.length };
    this.log.push(chunk);
    for (const reader of this.attached) reader.push(chunk);
  }

  /** Output from now on, after `before`. */
  attach(before: OutputChunk[] = [], live = true): Readable {
    const reader = new Readable({ objectMode: true, read: () => undefined });
    for (const chunk of before) reader.push(chunk);
    if (this.ended || !live) reader.push(null);
    else this.attached.add(reader);
    reader.once('close', () => this.attached.delete(reader));
    return reader;
  }

  /** Moves over readers that were attached before the process was started. */
  adopt(readers: Iterable<Readable>): void {
    for (const reader of readers) {
      if (reader.destroyed) continue;
      this.attached.add(reader);
      reader.once('close', () => this.attached.delete(reader));
    }
  }

  get stdin(): Writable | null {
    return this.child.stdin;
  }

  /** Sent to the whole process group, so that no process of a test is left. */
  signal(signal: number): void {
    try {
      process.kill(signal === 9 ? -this.pid : this.pid, signal);
    } catch {
      // It has ended.
    }
  }
}

/** A writable that waits for the process. */
export function waitingStdin(target: Promise<Writable | null>): Writable {
  return new Writable({
    write(data: Buffer, _encoding, done) {
      void target.then((stdin) => (stdin === null ? done() : stdin.write(data, () => done())));
    },
    final(done) {
      void target.then((stdin) => (stdin === null ? done() : stdin.end(() => done())));
    },
  });
}
