/** Bounds the memory for file names that are remembered: a guest can give one file thousands of long names. */
import { PortLayerError } from '../errors.js';

/** Two million names of usual length. */
const MAX_BYTES = 256 << 20;
/** Memory for each name, besides the name itself. */
const BESIDES = 64;

export class NameBudget {
  private left: number;

  constructor(bytes = MAX_BYTES) {
    this.left = bytes;
  }

  /** @throws unavailable when it is used up */
  take(name: string): void {
    this.left -= name.length + BESIDES;
    if (this.left < 0) throw new PortLayerError('files.tooMany', {});
  }
}
