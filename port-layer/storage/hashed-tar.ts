/** A tar that is hashed and counted while it is read. */
import { createHash } from 'node:crypto';
import { Transform } from 'node:stream';

/** Passes a tar on. */
export class HashedTar extends Transform {
  private readonly hash = createHash('sha256');
  /** Bytes so far. */
  size = 0;

  constructor() {
    super({
      highWaterMark: 1 << 20,
      transform: (chunk: Buffer, _encoding, done) => {
        this.hash.update(chunk);
        this.size += chunk.length;
        done(null, chunk);
      },
    });
  }

  /** `sha256:…` of all of it; to be called once, at the end. */
  digest(): string {
    return `sha256:${this.hash.digest('hex')}`;
  }
}
