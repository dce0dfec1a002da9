/** A stream that is hashed and counted on its way. */
import { createHash } from 'node:crypto';
import { Transform } from 'node:stream';

/** Passes bytes on, hashes and counts them. */
export class Measured extends Transform {
  readonly #hash = createHash('sha256');
  /** Bytes so far. */
  size = 0;

  /** @param grow asked before more is passed on */
  constructor(grow?: (bytes: number) => Promise<void>) {
    super({
      highWaterMark: 1 << 20,
      transform: (chunk: Buffer, _encoding, done) => {
        this.#hash.update(chunk);
        this.size += chunk.length;
        if (grow === undefined) done(null, chunk);
        else
          grow(chunk.length).then(
            () => done(null, chunk),
            (error: Error) => done(error),
          );
      },
    });
  }

  /** `sha256:…`; to be called once, at the end. */
  digest(): string {
    return `sha256:${this.#hash.digest('hex')}`;
  }
}
