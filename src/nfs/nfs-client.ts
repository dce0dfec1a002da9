/** Files and directories on an NFS 4.1 server, reached without mounting anything. */
import { isKind, unsupported } from '../common/errors.js';
import { DIRECTORY, MODE, Op, Status, TYPE_AND_HANDLE } from './nfs4.js';
import type { RpcTarget } from './rpc-connection.js';
import { NfsError, type Operation, operation, Session } from './session.js';
import { type XdrReader, XdrWriter } from './xdr.js';

const MAX_HANDLE = 128;
const MAX_NAME = 4096;
const MAX_ENTRIES = 10_000;
const READ_BYTES = 128 * 1024;
const DIRECTORY_BYTES = 64 * 1024;
/** A tree deeper than this is nobody's, and would be walked without end. */
const MAX_DEPTH = 4096;

/** A directory of the server. */
export type Handle = Buffer;

interface Entry {
  name: Buffer;
  directory: boolean;
  handle: Handle;
}

export class NfsClient {
  private constructor(private readonly session: Session) {}

  /** Does some work with a server. @throws unavailable, timeout, unsupported, and what the work throws */
  static async with<T>(target: RpcTarget, work: (client: NfsClient) => Promise<T>, answerMs?: number): Promise<T> {
    const session = await Session.open(target, answerMs);
    try {
      return await work(new NfsClient(session));
    } finally {
      await session.close();
    }
  }

  /** The directory at a path, from the root that the server shows. @throws notFound, forbidden, unavailable */
  async directory(path: string): Promise<Handle> {
    const names = path.split('/').filter((name) => name !== '');
    let [handle] = await this.handles([operation(Op.putrootfh)]);
    for (const name of names) [handle] = await this.handles([putfh(handle!), lookup(name)]);
    return handle!;
  }

  /** A directory in another one, which is made if it is not there. */
  async provide(parent: Handle, name: string, mode: number): Promise<Handle> {
    try {
      return await this.child(parent, name);
    } catch (error) {
      if (!isKind(error, 'notFound')) throw error;
    }
    await this.makeDirectory(parent, name, mode).catch((error: unknown) => {
      if (!isKind(error, 'conflict')) throw error;
    });
    return this.child(parent, name);
  }

  /** @throws notFound */
  async child(parent: Handle, name: string): Promise<Handle> {
    const [handle] = await this.handles([putfh(parent), lookup(name)]);
    return handle!;
  }

  /** @throws conflict when there is something of that name */
  async makeDirectory(parent: Handle, name: string, mode: number): Promise<void> {
    const args = new XdrWriter().u32(DIRECTORY).opaque(name);
    await this.session.run([putfh(parent), operation(Op.create, modeAttribute(args, mode))]);
  }

  /** Names of the directories in a directory. */
  async directories(parent: Handle): Promise<string[]> {
    const names: string[] = [];
    for await (const entries of this.entries(parent))
      for (const { name, directory } of entries) if (directory) names.push(name.toString('utf8'));
    return names;
  }

  /** A small file. @throws notFound; unsupported for a larger one */
  async readFile(parent: Handle, name: string): Promise<Buffer> {
    const args = new XdrWriter().fixed(Buffer.alloc(16)).u64(0n).u32(READ_BYTES);
    const read = (result: XdrReader): { end: boolean; data: Buffer } => ({
      end: result.flag(),
      data: result.opaque(READ_BYTES),
    });
    const results = await this.session.run([putfh(parent), lookup(name), operation(Op.read, args, read)]);
    const { end, data } = results[2] as ReturnType<typeof read>;
    if (!end) throw unsupported(`the file ${name} is too large`);
    return data;
  }

  /** Writes a small file whole: its name has the old content, or the new. @param draft a name that nobody else uses */
  async writeFile(parent: Handle, name: string, draft: string, content: Buffer): Promise<void> {
    // Opened for writing, without a delegation.
    const open = new XdrWriter()
      .u32(0)
      .u32(2 | 0x400)
      .u32(0)
      .u64(this.session.clientId)
      .opaque(draft)
      .u32(1)
      .u32(0);
    modeAttribute(open, 0o600).u32(0).opaque(draft);
    const write = new XdrWriter().fixed(CURRENT_STATE).u64(0n).u32(2).opaque(content);
    await this.session.run([
      putfh(parent),
      operation(Op.open, open, readOpened),
      operation(Op.write, write, (result) => {
        if (result.u32() !== content.length) throw unsupported('the server writes only a part');
        result.fixed(12);
      }),
      operation(Op.close, new XdrWriter().u32(0).fixed(CURRENT_STATE), (result) => result.fixed(16)),
    ]);
    await this.rename(parent, draft, parent, name);
  }

  /** @throws notFound, conflict */
  async rename(from: Handle, name: string, to: Handle, newName: string): Promise<void> {
    const args = new XdrWriter().opaque(name).opaque(newName);
    await this.session.run([putfh(from), operation(Op.savefh), putfh(to), operation(Op.rename, args)]);
  }

  /** Removes a file or an empty directory. @returns whether there was one */
  async remove(parent: Handle, name: string | Buffer): Promise<boolean> {
    try {
      await this.session.run([putfh(parent), remove(name)]);
      return true;
    } catch (error) {
      if (isKind(error, 'notFound')) return false;
      throw error;
    }
  }

  /** Removes a directory with all that is in it; what others remove meanwhile is no error. */
  async removeTree(parent: Handle, name: string | Buffer, depth = 0): Promise<void> {
    if (depth > MAX_DEPTH) throw unsupported(`directories more than ${MAX_DEPTH} deep`);
    let directory: Handle;
    try {
      [directory] = (await this.handles([putfh(parent), lookup(name)])) as [Handle];
    } catch (error) {
      if (isKind(error, 'notFound')) return;
      throw error;
    }
    // Removing changes what a cookie means, so it is read from its beginning until it is empty.
    for (;;) {
      const { value: entries } = await this.entries(directory).next();
      if (entries === undefined || entries.length === 0) break;
      const plain = entries.filter((entry) => !entry.directory);
      for (const entry of entries) if (entry.directory) await this.removeTree(directory, entry.name, depth + 1);
      const most = this.session.mostOperations - 1;
      for (let at = 0; at < plain.length; at += most) await this.removeAll(directory, plain.slice(at, at + most));
    }
    await this.remove(parent, name);
  }

  private async removeAll(directory: Handle, entries: Entry[]): Promise<void> {
    try {
      await this.session.run([putfh(directory), ...entries.map(({ name }) => remove(name))]);
    } catch (error) {
      if (!(error instanceof NfsError) || error.status !== Status.noEntry || error.at === 0) throw error;
      await this.removeAll(directory, entries.slice(error.at));
    }
  }

  private async handles(operations: Operation[]): Promise<Handle[]> {
    const read = (result: XdrReader): Handle => Buffer.from(result.opaque(MAX_HANDLE));
    const results = await this.session.run([...operations, operation(Op.getfh, new XdrWriter(), read)]);
    return [results.at(-1) as Handle];
  }

  /** What is in a directory, in pieces. */
  private async *entries(directory: Handle): AsyncGenerator<Entry[], undefined> {
    let [cookie, verifier]: [bigint, Buffer] = [0n, Buffer.alloc(8)];
    for (;;) {
      const args = new XdrWriter().u64(cookie).fixed(verifier).u32(DIRECTORY_BYTES).u32(DIRECTORY_BYTES);
      args.words(TYPE_AND_HANDLE);
      const results = await this.session.run([putfh(directory), operation(Op.readdir, args, readEntries)]);
      const found = results[1] as ReturnType<typeof readEntries>;
      if (found.entries.length > 0) yield found.entries;
      if (found.end || found.entries.length === 0) return undefined;
      ({ cookie, verifier } = found);
    }
  }
}

/** The state that an operation before in the same compound has opened. */
const CURRENT_STATE = Buffer.concat([Buffer.from([0, 0, 0, 1]), Buffer.alloc(12)]);

function putfh(handle: Handle): Operation {
  return operation(Op.putfh, new XdrWriter().opaque(handle));
}

function lookup(name: string | Buffer): Operation {
  return operation(Op.lookup, new XdrWriter().opaque(name));
}

function remove(name: string | Buffer): Operation {
  return operation(Op.remove, new XdrWriter().opaque(name), (result) => result.fixed(20));
}

function modeAttribute(args: XdrWriter, mode: number): XdrWriter {
  return args.words(MODE).opaque(new XdrWriter().u32(mode).bytes());
}

/** What was opened is used by the operations after it; the delegation, which was not wanted, says in one of several shapes that there is none. */
function readOpened(result: XdrReader): void {
  result.fixed(16);
  result.fixed(20);
  result.u32();
  result.words();
  const delegation = result.u32();
  if (delegation === 0) return;
  if (delegation !== 3) throw unsupported('the server delegates a file that it was asked not to');
  const why = result.u32();
  if (why === 1 || why === 2) result.u32();
}

function readEntries(result: XdrReader): { entries: Entry[]; end: boolean; cookie: bigint; verifier: Buffer } {
  const verifier = Buffer.from(result.fixed(8));
  const entries: Entry[] = [];
  let cookie = 0n;
  while (result.flag()) {
    if (entries.length === MAX_ENTRIES) throw unsupported('the server answers with too many entries');
    cookie = result.u64();
    const name = Buffer.from(result.opaque(MAX_NAME));
    result.words();
    result.u32();
    const directory = result.u32() === DIRECTORY;
    entries.push({ name, directory, handle: Buffer.from(result.opaque(MAX_HANDLE)) });
  }
  return { entries, end: result.flag(), cookie, verifier };
}
