/** The tar of a layer on its way into the layer store: hashed as it passes through, to the very last byte. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { PassThrough, type Readable } from 'node:stream';
import { invalid } from '../../src/common/errors.js';

const BUFFER = 1024 * 1024;

/** The message for a layer whose content has the given digest instead of the expected one. */
export type WrongDigest = (digest: string) => string;

/** For a layer from a registry. */
export const wrongDigest =
  (diffId: string): WrongDigest =>
  (digest) =>
    `layers from manifest don't match image configuration: ${digest} is not ${diffId}`;

/**
 * Passes `source` on as {@link LayerTar.tar} and hashes it. A reader of a tar stops at its end marker, but the digest also covers what
 * follows: `verify()` reads on to the end.
 */
export class LayerTar {
  /** For the layer store. */
  readonly tar: Readable;
  readonly #stream = new PassThrough({ highWaterMark: BUFFER });
  readonly #pumped: Promise<string>;
  /** The reader has stopped: continue without it. */
  #detached = false;
  readonly #detach: Promise<void>;
  #resolveDetach!: () => void;

  constructor(private readonly source: AsyncIterable<Buffer> & { destroy(): void }) {
    this.tar = this.#stream;
    this.#detach = new Promise((resolve) => {
      this.#resolveDetach = () => {
        this.#detached = true;
        resolve();
      };
    });
    this.#stream.once('close', this.#resolveDetach);
    // Reported to the reader as the stream's error, or by verify().
    this.#stream.on('error', () => {});
    this.#pumped = this.#pump();
    this.#pumped.catch(() => {});
  }

  async #pump(): Promise<string> {
    const hash = createHash('sha256');
    try {
      for await (const chunk of this.source) {
        hash.update(chunk);
        if (this.#detached || this.#stream.write(chunk)) continue;
        await Promise.race([once(this.#stream, 'drain').catch(() => {}), this.#detach]);
      }
    } catch (error) {
      this.#stream.destroy(error as Error);
      throw error;
    }
    this.#stream.end();
    return `sha256:${hash.digest('hex')}`;
  }

  /** Reads to the end and compares the digest. @throws invalid when the content is not `diffId`; whatever the source failed with */
  async verify(diffId: string, words = wrongDigest(diffId)): Promise<void> {
    this.#resolveDetach();
    const digest = await this.#pumped;
    if (digest !== diffId) throw invalid(words(digest));
  }

  /** Stops everything; safe at any time. */
  async close(): Promise<void> {
    this.source.destroy();
    this.#stream.destroy();
    await this.#pumped.catch(() => {});
  }
}
