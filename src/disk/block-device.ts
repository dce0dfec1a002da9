/** Random access to bytes: what the disk formats are read from. */
import { type FileHandle, open } from 'node:fs/promises';

/** Something of a fixed size that can be read anywhere. Bytes beyond what is stored read as zeros. */
export interface BlockReader {
  readonly size: number;
  read(offset: number, length: number): Promise<Buffer>;
}

/** A local file as a {@link BlockReader}. */
export class FileReader implements BlockReader {
  private constructor(
    private readonly file: FileHandle,
    readonly size: number,
  ) {}

  static async open(path: string): Promise<FileReader> {
    const file = await open(path, 'r');
    return new FileReader(file, (await file.stat()).size);
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const buffer = Buffer.alloc(length);
    await this.file.read(buffer, 0, length, offset);
    return buffer;
  }

  close(): Promise<void> {
    return this.file.close();
  }
}
