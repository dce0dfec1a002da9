/** Raw and multiplexed streams (Engine API, "Attach to a container"), and the keys that detach from them. */
import type { Readable, Writable } from 'node:stream';
import type { AttachedStreams, OutputChunk } from '../../../port-layer/index.js';
import { errnoOf, invalid } from '../../../src/common/errors.js';
import { atLeast } from './api-version.js';
import type { RawConnection } from './connection.js';

export const RAW_STREAM = 'application/vnd.docker.raw-stream';
const MULTIPLEXED_STREAM = 'application/vnd.docker.multiplexed-stream';
/** How many bytes of output are written to a client together. */
const AT_ONCE = 131_072;

/** The content type of a stream. Since 1.42 it says whether the stream is multiplexed. */
export function streamType(tty: boolean, apiVersion: string): string {
  return !tty && atLeast(apiVersion, '1.42') ? MULTIPLEXED_STREAM : RAW_STREAM;
}

/** One frame of a multiplexed stream: stream number, three zeros, length (big-endian), payload. */
export function frame(stream: OutputChunk['stream'], data: Buffer): Buffer {
  return Buffer.concat([frameHead(stream, data.length), data]);
}

function frameHead(stream: OutputChunk['stream'], length: number): Buffer {
  const head = Buffer.alloc(8);
  head[0] = stream === 'stderr' ? 2 : 1;
  head.writeUInt32BE(length, 4);
  return head;
}

/** Writes output as it comes, and waits while the client is behind. Returns when the output ends or the client has gone. */
export async function sendOutput(
  output: Readable,
  client: Writable,
  options: { multiplexed: boolean; stdout: boolean; stderr: boolean },
): Promise<void> {
  const gone = (): void => void output.destroy();
  client.once('close', gone);
  try {
    for await (const item of output) {
      if (client.destroyed || client.writableEnded) return;
      // Everything at hand goes out in one write: each write costs a system call here and wakes the client.
      client.cork();
      let bytes = 0;
      for (let chunk: OutputChunk | null = item as OutputChunk; chunk !== null; chunk = output.read() as typeof chunk) {
        if (!(chunk.stream === 'stdout' ? options.stdout : options.stderr)) continue;
        if (options.multiplexed) client.write(frameHead(chunk.stream, chunk.data.length));
        client.write(chunk.data);
        bytes += chunk.data.length;
        if (bytes >= AT_ONCE) break;
      }
      client.uncork();
      if (client.writableNeedDrain) await drained(client);
    }
  } catch (error) {
    // A detached or departed client ends the output; that is not a failure.
    if (errnoOf(error) !== 'ERR_STREAM_PREMATURE_CLOSE' && !client.destroyed) throw error;
  } finally {
    client.off('close', gone);
  }
}

/** Resolves when a stream takes more again, or is closed. */
export function drained(client: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      client.off('drain', done);
      client.off('close', done);
      resolve();
    };
    client.on('drain', done);
    client.on('close', done);
  });
}

const SPECIAL: Record<string, number> = { '@': 0, '[': 27, '\\': 28, ']': 29, '^': 30, _: 31 };
export const DEFAULT_DETACH_KEYS = 'ctrl-p,ctrl-q';

/** The bytes of a sequence such as `ctrl-p,ctrl-q`. @param called Docker's word for the keys @throws invalid in Docker's words */
export function parseDetachKeys(text: string, called: 'detach' | 'escape' = 'detach'): number[] {
  return text.split(',').map((key) => {
    if (key.length === 1) return key.charCodeAt(0);
    const control = /^ctrl-(.)$/.exec(key)?.[1];
    if (control !== undefined && /[a-z]/.test(control)) return control.charCodeAt(0) - 96;
    if (control !== undefined && SPECIAL[control] !== undefined) return SPECIAL[control];
    throw invalid(`Invalid ${called} keys (${text}) provided`);
  });
}

/** Finds the detach sequence in typed input. Holds back what may be its beginning until that is clear. */
export class DetachFilter {
  private matched = 0;

  constructor(private readonly keys: number[]) {}

  /** The input to pass on, and whether the sequence was typed. */
  push(input: Buffer): { pass: Buffer; detached: boolean } {
    const pass: number[] = [];
    for (const byte of input) {
      if (byte === this.keys[this.matched]) {
        this.matched++;
        if (this.matched === this.keys.length) return { pass: Buffer.from(pass), detached: true };
        continue;
      }
      pass.push(...this.keys.slice(0, this.matched));
      this.matched = byte === this.keys[0] ? 1 : 0;
      if (this.matched === 0) pass.push(byte);
    }
    return { pass: Buffer.from(pass), detached: false };
  }
}

/** How a client's connection with a session ended: the output was over, the client detached, or it left. */
export type StreamEnd = 'ended' | 'detached' | 'left';

/**
 * Connects a client's raw connection with a session's streams until the output ends, the client leaves, or it detaches.
 * @param options.closeStdin the end of the client's input closes the process's, except on a terminal; otherwise it means that the client
 *   leaves, as in Docker
 */
export async function connectStreams(
  client: RawConnection,
  streams: AttachedStreams,
  options: {
    tty: boolean;
    multiplexed: boolean;
    stdout: boolean;
    stderr: boolean;
    detachKeys: number[];
    closeStdin: boolean;
  },
): Promise<StreamEnd> {
  const { input, output } = client;
  const { stdin } = streams;
  let end: StreamEnd = 'ended';
  const leave = (how: StreamEnd): void => {
    if (end === 'ended') end = how;
    streams.close();
  };
  output.on('error', () => undefined);
  input.on('error', () => undefined);
  // A client that has gone already will not emit `close` again.
  if (output.destroyed) leave('left');
  else output.once('close', () => leave('left'));
  if (stdin !== null) {
    stdin.on('error', () => undefined);
    const filter = options.tty ? new DetachFilter(options.detachKeys) : null;
    input.on('data', (data: Buffer) => {
      if (end !== 'ended') return;
      const { pass, detached } = filter?.push(data) ?? { pass: data, detached: false };
      if (pass.length > 0 && !stdin.destroyed && !stdin.write(pass)) {
        input.pause();
        void drained(stdin).then(() => input.resume());
      }
      if (detached) leave('detached');
    });
    const over = (): void => {
      if (options.closeStdin && !options.tty) stdin.end();
      else leave('left');
    };
    // The client's input may have ended before anybody listened.
    if (input.readableEnded) over();
    else input.once('end', over);
  }
  // Read also when nobody takes the input, to see the client leave. A connection whose request had a body is paused until here.
  input.resume();
  await sendOutput(streams.output, output, options);
  output.end();
  return end;
}
