/** Builds the tar of a layer in memory. */
import { type Header, type Pack, pack } from 'tar-stream';

interface Attributes {
  mode?: number;
  uid?: number;
  gid?: number;
  /** PAX records: nanosecond `mtime`, `SCHILY.xattr.…`. */
  pax?: Record<string, string>;
}

const MTIME = new Date(1_700_000_000_000);

/** Entries in the order they are added; every method returns the builder. */
export class TarBuilder {
  readonly #pack: Pack = pack();
  readonly #data: Promise<Buffer>;

  constructor() {
    this.#data = (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of this.#pack as AsyncIterable<Buffer>) chunks.push(Buffer.from(chunk));
      return Buffer.concat(chunks);
    })();
  }

  #entry(header: Partial<Header> & { name: string }, attributes: Attributes, mode: number, data?: Buffer): this {
    const { pax, ...rest } = attributes;
    this.#pack.entry(
      { mode, uid: 0, gid: 0, mtime: MTIME, ...rest, ...(pax ? { pax } : {}), ...header } as Header,
      data ?? Buffer.alloc(0),
    );
    return this;
  }

  file(name: string, data: Buffer | string = '', attributes: Attributes = {}): this {
    return this.#entry({ name, type: 'file' }, attributes, 0o644, Buffer.from(data));
  }

  directory(name: string, attributes: Attributes = {}): this {
    return this.#entry({ name: `${name}/`, type: 'directory' }, attributes, 0o755);
  }

  symlink(name: string, linkname: string): this {
    return this.#entry({ name, type: 'symlink', linkname }, {}, 0o777);
  }

  /** A hard link; its mode applies to the file it names, as Docker does. */
  link(name: string, linkname: string, mode = 0o644): this {
    return this.#entry({ name, type: 'link', linkname }, {}, mode);
  }

  device(name: string, kind: 'character-device' | 'block-device', major: number, minor: number, mode: number): this {
    return this.#entry({ name, type: kind, devmajor: major, devminor: minor }, {}, mode);
  }

  fifo(name: string): this {
    return this.#entry({ name, type: 'fifo' }, {}, 0o644);
  }

  async build(): Promise<Buffer> {
    this.#pack.finalize();
    return this.#data;
  }
}
