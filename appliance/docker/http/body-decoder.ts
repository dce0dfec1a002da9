/** Takes a request's body out of the bytes of its connection, however they are split (RFC 9112, 6 and 7). */
import type { Framing } from './request-head.js';

/** Limits in bytes: of a line of the chunked encoding, and of all trailers together. */
const MAX_LINE = 4096;
const MAX_TRAILERS = 64 * 1024;

/** Its message is in the words of Go's `net/http`. */
export class BodyError extends Error {}

export class BodyDecoder {
  /** How many bytes of the body, or of its current chunk, are still to come. */
  private left: number;
  private at: 'data' | 'size' | 'end of chunk' | 'trailers' | 'done';
  private trailers = 0;

  constructor(private readonly framing: Framing) {
    this.left = framing === 'chunked' ? 0 : framing;
    this.at = framing === 'chunked' ? 'size' : framing === 0 ? 'done' : 'data';
  }

  get done(): boolean {
    return this.at === 'done';
  }

  /**
   * Takes what it can from the front of `bytes`.
   * @returns a piece of the body, if there is one, and how many bytes were used. None used: it needs more, or it is done.
   * @throws BodyError
   */
  take(bytes: Buffer): { data: Buffer | null; used: number } {
    let used = 0;
    while (this.at !== 'done') {
      if (this.at === 'data') {
        const data = bytes.subarray(used, used + this.left);
        if (data.length === 0) break;
        this.left -= data.length;
        if (this.left === 0) this.at = this.framing === 'chunked' ? 'end of chunk' : 'done';
        return { data, used: used + data.length };
      }
      const end = bytes.indexOf(10, used);
      if (end < 0) {
        if (bytes.length - used > MAX_LINE) throw new BodyError('http: chunk-size line too long');
        // A chunk must end where its size said.
        if (this.at === 'end of chunk' && bytes.length > used && bytes[used] !== 13)
          throw new BodyError('malformed chunked encoding');
        break;
      }
      if (end - used > MAX_LINE) throw new BodyError('header line too long');
      const line = bytes.toString('latin1', used, end + 1);
      this.line(line);
      used = end + 1;
    }
    return { data: null, used };
  }

  private line(text: string): void {
    if (this.at === 'end of chunk') {
      if (text !== '\r\n') throw new BodyError('malformed chunked encoding');
      this.at = 'size';
    } else if (this.at === 'size') {
      if (!text.endsWith('\r\n')) throw new BodyError('chunked line ends with bare LF');
      const size = text.slice(0, -2).replace(/;.*$/, '').trimEnd();
      if (size === '') throw new BodyError('empty hex number for chunk length');
      if (!/^[0-9a-f]+$/i.test(size)) throw new BodyError('invalid byte in chunk length');
      if (size.length > 12) throw new BodyError('http chunk length too large');
      this.left = Number.parseInt(size, 16);
      this.at = this.left === 0 ? 'trailers' : 'data';
    } else {
      this.trailers += text.length;
      if (this.trailers > MAX_TRAILERS) throw new BodyError('http: suspiciously long trailer after chunked body');
      if (text === '\r\n' || text === '\n') this.at = 'done';
    }
  }
}
