/** One observer in a container's VM: asked, it answers with what the kernel says (`tether/protocol/observation.ts`). */
import type { Readable, Writable } from 'node:stream';
import { cancelled, conflict, timeout } from '../../src/common/errors.js';
import { type Facts, ObservationParser } from '../../tether/protocol/observation.js';
import type { ContainerChannel } from '../interaction/container-channel.js';
import type { OutputChunk } from '../types.js';

const SIGKILL = 9;
const ANSWER_MS = 10_000;

/** Its owner must {@link close} it. One question at a time. */
export class GuestObserver {
  private readonly records: AsyncIterator<Facts>;
  private readonly onAbort = (): void => this.close();

  private constructor(
    private readonly channel: ContainerChannel,
    private readonly session: number,
    private readonly input: Writable,
    private readonly output: Readable,
    private readonly signal?: AbortSignal,
  ) {
    this.records = records(output)[Symbol.asyncIterator]();
    signal?.addEventListener('abort', this.onAbort, { once: true });
  }

  /** Starts one. @throws conflict, unavailable, timeout (an older boot image, which does not know the request) */
  static async open(channel: ContainerChannel, signal?: AbortSignal): Promise<GuestObserver> {
    const { session, output, started } = await channel.observe();
    try {
      await inTime(started);
      const input = channel.stdin(session);
      if (input === null) throw conflict('the container has stopped');
      if (signal?.aborted) {
        input.end();
        throw cancelled('the request was cancelled');
      }
      return new GuestObserver(channel, session, input, output, signal);
    } catch (error) {
      output.destroy();
      throw error;
    }
  }

  /** @param what of `Observation` @throws conflict when the container ends, timeout, cancelled */
  async ask(what: string): Promise<Facts> {
    if (this.output.destroyed) throw this.ended();
    this.input.write(what);
    const { value, done } = await inTime(this.records.next());
    if (done === true) throw this.ended();
    return value;
  }

  close(): void {
    this.signal?.removeEventListener('abort', this.onAbort);
    if (this.output.destroyed) return;
    this.output.destroy();
    this.input.destroy();
    this.channel.signal(this.session, SIGKILL).catch(() => undefined);
  }

  private ended(): Error {
    return this.signal?.aborted ? cancelled('the request was cancelled') : conflict('the container has stopped');
  }
}

async function inTime<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(timeout('the container VM does not answer')), ANSWER_MS);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function* records(output: Readable): AsyncGenerator<Facts> {
  const parser = new ObservationParser();
  try {
    for await (const { data } of output as AsyncIterable<OutputChunk>) yield* parser.push(data);
  } catch (error) {
    // Closed by ourselves: there is nothing more.
    if ((error as { code?: string }).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  }
}
