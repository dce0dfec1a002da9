/** Plays a VM: sends and receives frames through its tap of a virtual switch, as its QEMU would. */
import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

/** See the file's head. By the time the tap has taken a frame, the switch has passed it on. */
export class TapGuest {
  private readonly child: ChildProcessByStdio<Writable, Readable, null>;
  private readonly lines: Interface;
  private waiting: ((frames: string[]) => void)[] = [];
  private got: string[] = [];

  /**
   * Starts one; its bridge passes frames on by then, which the kernel does some time after somebody has opened the tap.
   * @param program compiled by `compileFrames` @param namespace path of the switch's
   */
  static async open(program: string, namespace: string, tap: string): Promise<TapGuest> {
    const guest = new TapGuest(program, namespace, tap);
    const state = async (): Promise<string> =>
      (await promisify(execFile)('nsenter', [`--net=${namespace}`, '--', 'bridge', 'link', 'show', 'dev', tap])).stdout;
    for (let left = 1000; left > 0 && !(await state()).includes('state forwarding'); left--) await sleep(20);
    await guest.received();
    return guest;
  }

  private constructor(program: string, namespace: string, tap: string) {
    this.child = spawn('nsenter', [`--net=${namespace}`, '--', program, 'tap', tap], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.lines = createInterface(this.child.stdout);
    this.lines.on('line', (line) => {
      if (line !== '.') {
        this.got.push(line);
        return;
      }
      this.waiting.shift()?.(this.got);
      this.got = [];
    });
  }

  /** Sends frames. @returns everything that it has received by then and not returned before, in hexadecimal */
  async send(...frames: Buffer[]): Promise<string[]> {
    if (this.child.exitCode !== null) throw new Error('the guest has ended');
    return new Promise((resolve) => {
      this.waiting.push(resolve);
      this.child.stdin.write(frames.map((one) => `${one.toString('hex')}\n`).join(''));
      this.child.stdin.write('\n');
    });
  }

  /** What it has received and not returned before. */
  received(): Promise<string[]> {
    return this.send();
  }

  async close(): Promise<void> {
    this.child.stdin.end();
    if (this.child.exitCode === null) await once(this.child, 'close');
  }
}
