/** A cpio archive in the `newc` form, as the kernel unpacks it (Documentation/driver-api/early-userspace/buffer-format.rst). */

interface Entry {
  path: string;
  mode: number;
  data: Buffer;
}

/** Writes an initramfs. The same entries give the same bytes. */
export class CpioWriter {
  private readonly entries: Entry[] = [];

  directory(path: string): this {
    this.entries.push({ path, mode: 0o40755, data: Buffer.alloc(0) });
    return this;
  }

  file(path: string, data: Buffer, mode = 0o644): this {
    this.entries.push({ path, mode: 0o100000 | mode, data });
    return this;
  }

  bytes(): Buffer {
    const parts: Buffer[] = [];
    const all = [...this.entries, { path: 'TRAILER!!!', mode: 0, data: Buffer.alloc(0) }];
    for (const [index, entry] of all.entries()) {
      const hex = (value: number): string => value.toString(16).padStart(8, '0').toUpperCase();
      const fields = [
        index + 1,
        entry.mode,
        0,
        0,
        1,
        0,
        entry.data.length,
        0,
        0,
        0,
        0,
        Buffer.byteLength(entry.path) + 1,
        0,
      ];
      parts.push(pad(Buffer.from(`070701${fields.map(hex).join('')}${entry.path}\0`)), pad(entry.data));
    }
    return Buffer.concat(parts);
  }
}

/** Pads to a multiple of four bytes, as headers with their names, and contents, must be. */
function pad(bytes: Buffer): Buffer {
  const rest = bytes.length % 4;
  return rest === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(4 - rest)]);
}
