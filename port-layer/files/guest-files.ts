/** The files of a running container, through the tether's file server. */
import { internal } from '../../src/common/errors.js';
import type { DiskRef } from '../../tether/program/spec.js';
import { MAX_UNITS } from '../../tether/program/steps.js';
import { FieldWriter } from '../../tether/protocol/fields.js';
import {
  CONTENT_PIECE,
  encodePut,
  encodeRecord,
  encodeTimes,
  type FileEntry,
  type FileRecord,
  FileRecordParser,
  FileRequest,
  PUT_KEEP_KIND,
  TREE_ALONE,
  TREE_CONTENT,
} from '../../tether/protocol/files.js';
import type { ContainerChannel } from '../interaction/container-channel.js';
import { GuestHelper } from '../interaction/guest-helper.js';
import { FILE_FREEZE, FILE_RECORD, VOLUME_FREEZE } from '../interaction/patience.js';
import { FileError, isRegular, type RootFiles, type TreeOptions } from './root-files.js';

/** How many files with several names are remembered for one archive. */
const MAX_GIVEN = 1_000_000;

/** One file server in the guest. */
export class GuestFiles implements RootFiles {
  /** Inodes of files with several names whose content was given already. */
  private readonly given = new Set<string>();
  /** What the server said when it gave up. */
  private failure: FileError | null = null;

  private constructor(private readonly helper: GuestHelper<FileRecord>) {}

  /** Starts a server. @param view one of `FilesView`. @throws conflict, unavailable, timeout, cancelled */
  static async open(channel: ContainerChannel, view: number, signal?: AbortSignal): Promise<GuestFiles> {
    const asking = { patience: FILE_RECORD, what: "access to the container's files", signal };
    return new GuestFiles(await GuestHelper.open(channel, channel.files(view), new FileRecordParser(), asking));
  }

  async stat(path: string): Promise<FileEntry> {
    await this.send(FileRequest.stat, new FieldWriter().byteString(path).bytes());
    const reply = await this.reply();
    if (reply.type !== 'entry') throw internal('the guest sent an unexpected record');
    return reply.entry;
  }

  async *tree(path: string, { content, alone }: TreeOptions): AsyncGenerator<FileEntry | Buffer> {
    const flags = (content ? TREE_CONTENT : 0) | (alone ? TREE_ALONE : 0);
    await this.send(FileRequest.tree, new FieldWriter().u8(flags).byteString(path).bytes());
    // The guest is not trusted: a name with `..` could escape the directory that somebody unpacks the archive into.
    const expected = new ExpectedContent(content, this.given);
    for (;;) {
      const reply = await this.reply();
      if (reply.type === 'content') {
        expected.take(reply.data);
        yield reply.data;
        continue;
      }
      expected.none();
      if (reply.type !== 'entry') return;
      checkName(reply.entry.path);
      expected.begin(reply.entry);
      yield reply.entry;
    }
  }

  async put(entry: FileEntry, keepKind: boolean): Promise<void> {
    await this.send(FileRequest.put, encodePut(entry, keepKind ? PUT_KEEP_KIND : 0));
  }

  async data(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; at += CONTENT_PIECE)
      await this.send(FileRequest.data, bytes.subarray(at, at + CONTENT_PIECE));
  }

  async times(entry: FileEntry): Promise<void> {
    await this.send(FileRequest.times, encodeTimes(entry));
  }

  async finish(): Promise<void> {
    await this.send(FileRequest.finish, Buffer.alloc(0));
    await this.done();
  }

  async freeze(): Promise<void> {
    await this.send(FileRequest.freeze, Buffer.alloc(0));
    await this.done(FILE_FREEZE);
  }

  /**
   * Freezes the filesystem of a volume until this is closed, and not longer than `ms`.
   * @returns a function that throws if it is not frozen any more
   */
  async freezeVolume({ bus, unit }: DiskRef, ms: number): Promise<() => Promise<void>> {
    const fields = new FieldWriter().u32(bus * MAX_UNITS + unit).u32(ms);
    await this.send(FileRequest.freezeVolume, fields.bytes());
    await this.done(VOLUME_FREEZE);
    return async () => {
      // The server ends when the time is over.
      await this.send(FileRequest.finish, Buffer.alloc(0));
      await this.done();
    };
  }

  close(): Promise<void> {
    return this.helper.close();
  }

  private async done(patience = FILE_RECORD): Promise<void> {
    const reply = await this.reply(patience);
    if (reply.type !== 'done') throw internal('the guest sent an unexpected record');
  }

  private async reply(patience = FILE_RECORD): Promise<FileRecord> {
    const reply = await this.helper.next(patience);
    if (reply.done === true) throw this.helper.ended();
    if (reply.value.type === 'error') throw new FileError(reply.value.failure);
    return reply.value;
  }

  private async send(type: number, fields: Buffer): Promise<void> {
    if (this.failure !== null) throw this.failure;
    if (await this.helper.send(encodeRecord(type, fields))) return;
    // The server has given up, and its last record says why.
    const reply = await this.helper.next();
    if (reply.done !== true && reply.value.type === 'error') {
      this.failure = new FileError(reply.value.failure);
      throw this.failure;
    }
    throw this.helper.ended();
  }
}

/** Checks that content follows only regular files, and exactly as much of it as their entries say. */
class ExpectedContent {
  private left = 0;

  constructor(
    private readonly withContent: boolean,
    private readonly given: Set<string>,
  ) {}

  begin(entry: FileEntry): void {
    if (!this.withContent || !isRegular(entry)) return;
    const inode = `${entry.dev}:${entry.ino}`;
    if (entry.nlink > 1 && this.given.has(inode)) return;
    if (entry.nlink > 1) this.given.add(inode);
    if (this.given.size > MAX_GIVEN) throw internal('the guest sent too many files with several names');
    this.left = entry.size;
  }

  take(data: Buffer): void {
    this.left -= data.length;
    if (this.left < 0 || data.length === 0) throw internal('the guest sent content that belongs to no file');
  }

  none(): void {
    if (this.left > 0) throw internal('the guest sent less content than it said');
  }
}

function checkName(path: string): void {
  if (path === '') return;
  const wrong = path.includes('\0') || path.split('/').some((part) => part === '' || part === '.' || part === '..');
  if (wrong) throw internal('the guest sent a path that is none');
}
