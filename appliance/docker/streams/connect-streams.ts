/** Connects a client with the streams of a container or an exec. */
import type { Readable, Writable } from 'node:stream';
import type { AttachedStreams, OutputChunk } from '../../../port-layer/index.js';
import { errnoOf } from '../../../src/common/errors.js';
import { DetachFilter } from './detach-keys.js';
import { drained } from './drained.js';
import { frameHead } from './frames.js';

/** How many bytes of output are written to a client together. */
const AT_ONCE = 131_072;

/** A client's side of a session: a connection that was taken over, or a WebSocket. */
export interface StreamClient {
  input: Readable;
  output: Writable;
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

/** How a client's connection with a session ended: the output was over, the client detached, or it left. */
export type StreamEnd = 'ended' | 'detached' | 'left';

/**
 * Connects a client with a session's streams until the output ends, the client leaves, or it detaches.
 * @param options.closeStdin the end of the client's input closes the process's, except on a terminal; otherwise it means that the client
 *   leaves, as in Docker
 */
export async function connectStreams(
  client: StreamClient,
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
