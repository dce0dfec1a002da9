/** A helper of the tether's in a container's VM, asked over a session of the channel: records go in, records come out. */
import type { Readable, Writable } from 'node:stream';
import { cancelled, conflict, timeout } from '../../src/common/errors.js';
import { within } from '../../src/common/within.js';
import type { OutputChunk } from '../types.js';
import { type ContainerChannel, ProcessFailure } from './container-channel.js';

const SIGKILL = 9;

/** Takes what a helper sends, piece by piece, and gives the records that are whole by then. */
export interface RecordParser<T> {
  push(bytes: Buffer): Iterable<T>;
}

/** How a helper is started: by `ContainerChannel.files` or `observe`. */
type Starting = Promise<{ session: number; output: Readable; started: Promise<number> }>;

/** One helper that runs. Its owner must {@link close} it. */
export class GuestHelper<T> {
  /** What it answers, in order. */
  readonly records: AsyncIterator<T>;
  private readonly onAbort = (): void => void this.close();

  private constructor(
    private readonly channel: ContainerChannel,
    private readonly session: number,
    readonly input: Writable,
    private readonly output: Readable,
    parser: RecordParser<T>,
    private readonly signal?: AbortSignal,
  ) {
    this.records = parsed(output, parser)[Symbol.asyncIterator]();
    signal?.addEventListener('abort', this.onAbort, { once: true });
  }

  /**
   * Waits until the helper runs. @param ms for so long @param late what is said when it does not: an older boot image does not know
   * the request, and does not answer
   * @throws conflict, unavailable, timeout, cancelled
   */
  static async open<T>(
    channel: ContainerChannel,
    starting: Starting,
    parser: RecordParser<T>,
    { ms, late, signal }: { ms: number; late: string; signal?: AbortSignal | undefined },
  ): Promise<GuestHelper<T>> {
    const { session, output, started } = await starting;
    try {
      await within(started, ms, () => {
        throw timeout(late);
      });
    } catch (error) {
      output.destroy();
      throw error instanceof ProcessFailure ? conflict(error.message) : error;
    }
    const input = channel.stdin(session);
    if (input === null) {
      output.destroy();
      throw conflict('the container has stopped');
    }
    const helper = new GuestHelper(channel, session, input, output, parser, signal);
    if (!signal?.aborted) return helper;
    await helper.close();
    throw helper.ended();
  }

  get closed(): boolean {
    return this.output.destroyed;
  }

  /** Why there are no more records. */
  ended(): Error {
    return this.signal?.aborted ? cancelled('the request was cancelled') : conflict('the container has stopped');
  }

  async close(): Promise<void> {
    this.signal?.removeEventListener('abort', this.onAbort);
    if (this.output.destroyed) return;
    this.output.destroy();
    this.input.destroy();
    // One that is in the middle of something long does not look at its input.
    await this.channel.signal(this.session, SIGKILL).catch(() => undefined);
  }
}

async function* parsed<T>(output: Readable, parser: RecordParser<T>): AsyncGenerator<T> {
  try {
    for await (const { data } of output as AsyncIterable<OutputChunk>) yield* parser.push(data);
  } catch (error) {
    // Closed by ourselves: there is nothing more.
    if ((error as { code?: string }).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  }
}
