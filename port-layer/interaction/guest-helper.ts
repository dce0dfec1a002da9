/** One of the tether's helpers in a container's VM, used over a session of the channel: requests go in, records come out. */
import type { Readable, Writable } from 'node:stream';
import { cancelled } from '../../src/common/errors.js';
import { PortLayerError } from '../errors.js';
import { type Begun, type ContainerChannel, ProcessFailure } from './container-channel.js';
import type { Patience } from './patience.js';
import type { OutputChunk } from './types.js';

const SIGKILL = 9;

/** Takes a helper's output piece by piece and returns the records completed so far. */
export interface RecordParser<T> {
  push(bytes: Buffer): Iterable<T>;
}

/** How a helper is asked. */
export interface Asking {
  /** How long to wait for each record, and for each request to be accepted. */
  patience: Patience;
  /** What is given up when that time is over: "reading the container's files". */
  what: string;
  signal?: AbortSignal | undefined;
}

/** A running helper. Its owner must {@link close} it. */
export class GuestHelper<T> {
  private readonly records: AsyncIterator<T>;
  private readonly onAbort = (): void => void this.close();
  /** Since when we have been waiting for something; null while we are not. */
  private since: number | null = null;
  private patience: Patience;
  private watch: NodeJS.Timeout | null = null;
  private late: Error | null = null;

  private constructor(
    private readonly channel: ContainerChannel,
    private readonly session: number,
    private readonly input: Writable,
    private readonly output: Readable,
    parser: RecordParser<T>,
    private readonly asking: Asking,
  ) {
    this.patience = asking.patience;
    this.records = parsed(output, parser)[Symbol.asyncIterator]();
    asking.signal?.addEventListener('abort', this.onAbort, { once: true });
  }

  /** Waits until the helper runs. @throws conflict, unavailable, timeout, cancelled */
  static async open<T>(
    channel: ContainerChannel,
    starting: Promise<Begun>,
    parser: RecordParser<T>,
    asking: Asking,
  ): Promise<GuestHelper<T>> {
    const { session, output, started } = await starting;
    const { signal } = asking;
    const kill = (): void => {
      output.destroy();
      void channel.signal(session, SIGKILL).catch(() => undefined);
    };
    try {
      await orAborted(started, signal);
    } catch (error) {
      kill();
      throw error instanceof ProcessFailure ? new PortLayerError('guest.noHelper', { reason: error.message }) : error;
    }
    const input = channel.stdin(session);
    if (input === null) {
      output.destroy();
      throw new PortLayerError('container.stopped', {});
    }
    return new GuestHelper(channel, session, input, output, parser, asking);
  }

  get closed(): boolean {
    return this.output.destroyed;
  }

  /** The next record, in the order of the requests. @throws timeout, cancelled; unavailable when the guest breaks the protocol */
  async next(patience = this.asking.patience): Promise<IteratorResult<T, undefined>> {
    this.expect(patience);
    try {
      const result = await this.records.next();
      if (result.done === true && this.late !== null) throw this.late;
      return result;
    } finally {
      this.since = null;
    }
  }

  /** Sends a request; false if the helper no longer accepts any. @throws timeout */
  async send(request: Buffer | string): Promise<boolean> {
    this.expect(this.asking.patience);
    try {
      const sent = await new Promise<boolean>((resolve) => this.input.write(request, (error) => resolve(!error)));
      if (!sent && this.late !== null) throw this.late;
      return sent;
    } finally {
      this.since = null;
    }
  }

  /** Why there are no more records. */
  ended(): Error {
    if (this.late !== null) return this.late;
    return this.asking.signal?.aborted
      ? cancelled('the request was cancelled')
      : new PortLayerError('container.stopped', {});
  }

  async close(): Promise<void> {
    this.asking.signal?.removeEventListener('abort', this.onAbort);
    if (this.watch !== null) clearInterval(this.watch);
    if (this.output.destroyed) return;
    this.output.destroy();
    this.input.destroy();
    // A helper that is busy with something long does not look at its input.
    await this.channel.signal(this.session, SIGKILL).catch(() => undefined);
  }

  /** One timer serves all records: there may be hundreds of thousands. */
  private expect(patience: Patience): void {
    this.patience = patience;
    this.since = performance.now();
    this.watch ??= setInterval(() => this.look(), patience.silenceMs / 10);
  }

  private look(): void {
    if (this.since === null) return;
    const { silenceMs, mostMs } = this.patience;
    const now = performance.now();
    const waited = now - this.since;
    if (waited < silenceMs / 4) return;
    const silent = Math.min(waited, now - this.channel.heard());
    if (silent < silenceMs && waited < mostMs) return;
    const seconds = Math.round((waited < mostMs ? silent : waited) / 1000);
    this.late = new PortLayerError('guest.silent', { what: this.asking.what, seconds });
    void this.close();
  }
}

async function* parsed<T>(output: Readable, parser: RecordParser<T>): AsyncGenerator<T, undefined> {
  try {
    for await (const { data } of output as AsyncIterable<OutputChunk>) yield* parser.push(data);
  } catch (error) {
    // We closed it ourselves, so nothing more follows.
    if ((error as { code?: string }).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  }
  return undefined;
}

/** @throws cancelled when the signal comes first */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(cancelled('the request was cancelled'));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
