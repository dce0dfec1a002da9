/** A session with an NFS 4.1 server (RFC 8881, section 2.10): a client of its own, with one slot, that ends with the work. */
import { randomBytes } from 'node:crypto';
import { CaissonError, type ErrorKind, unavailable, unsupported } from '../common/errors.js';
import { COMPOUND, MINOR_VERSION, NFS_VERSION, Op, PROGRAM, Status, statusText } from './nfs4.js';
import { RpcConnection, type RpcTarget } from './rpc-connection.js';
import { type XdrReader, XdrWriter } from './xdr.js';

/** How long a server is waited for: for each answer, and as long as it asks to wait. */
const ANSWER_MS = 10_000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1000;
const MESSAGE_BYTES = 256 * 1024;
const MAX_OPERATIONS = 32;
const MAX_TAG = 1024;

const KINDS: Record<number, ErrorKind> = {
  [Status.perm]: 'forbidden',
  [Status.noEntry]: 'notFound',
  [Status.access]: 'forbidden',
  [Status.exists]: 'conflict',
  [Status.noSpace]: 'insufficientResources',
  [Status.notEmpty]: 'conflict',
  [Status.quota]: 'insufficientResources',
  [Status.minorVersion]: 'unsupported',
};

/** One operation of a compound: what it is called with, and how its result is read. */
export interface Operation {
  number: number;
  args: XdrWriter;
  read(result: XdrReader): unknown;
}

/** An operation without a result that means something. */
export function operation(number: number, args = new XdrWriter(), read: (result: XdrReader) => unknown = () => null) {
  return { number, args, read };
}

/** What a server has refused. */
export class NfsError extends CaissonError {
  /** @param at index of the operation that was refused */
  constructor(
    readonly status: number,
    readonly at: number,
  ) {
    super(KINDS[status] ?? 'unavailable', statusText(status));
  }
}

export class Session {
  private sequence = 0;

  private constructor(
    private readonly connection: RpcConnection,
    /** Opens files are this client's. */
    readonly clientId: bigint,
    private readonly id: Buffer,
    /** How many operations a compound may have, besides SEQUENCE. */
    readonly mostOperations: number,
  ) {}

  /** @throws unavailable, timeout, unsupported */
  static async open(target: RpcTarget, answerMs = ANSWER_MS): Promise<Session> {
    const connection = await RpcConnection.open(target, answerMs);
    try {
      const owner = `caisson ${randomBytes(12).toString('hex')}`;
      const exchange = new XdrWriter().fixed(randomBytes(8)).opaque(owner).u32(0).u32(0).u32(0);
      const [client] = await compound(connection, [operation(Op.exchangeId, exchange, readClient)]);
      const { clientId, sequence } = client as ReturnType<typeof readClient>;
      const create = new XdrWriter().u64(clientId).u32(sequence).u32(0);
      channel(create, MESSAGE_BYTES, MAX_OPERATIONS);
      channel(create, 4096, 2);
      create.u32(0x40000000).u32(1).u32(0);
      const [made] = await compound(connection, [operation(Op.createSession, create, readSession)]);
      const { id, operations } = made as ReturnType<typeof readSession>;
      const session = new Session(connection, clientId, id, Math.min(operations, MAX_OPERATIONS) - 1);
      await session.run([operation(Op.reclaimComplete, new XdrWriter().u32(0))]);
      return session;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /**
   * The results of the operations, all of them. While the server asks to wait, they are asked for again.
   * @throws NfsError, unavailable, timeout
   */
  async run(operations: Operation[]): Promise<unknown[]> {
    const end = Date.now() + ANSWER_MS;
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      const args = new XdrWriter().fixed(this.id).u32(this.sequence + 1);
      args.u32(0).u32(0).u32(0);
      let counted = false;
      const sequence = operation(Op.sequence, args, (result) => {
        result.fixed(16);
        for (let word = 0; word < 5; word++) result.u32();
        counted = true;
      });
      try {
        const [, ...results] = await compound(this.connection, [sequence, ...operations]);
        return results;
      } catch (error) {
        if (!(error instanceof NfsError)) throw error;
        const again = error.status === Status.delay || error.status === Status.grace;
        if (!again || Date.now() > end) throw new NfsError(error.status, error.at - 1);
      } finally {
        if (counted) this.sequence++;
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** Ends it. A server that does not answer forgets it by itself. */
  async close(): Promise<void> {
    try {
      await compound(this.connection, [operation(Op.destroySession, new XdrWriter().fixed(this.id))]);
      await compound(this.connection, [operation(Op.destroyClientId, new XdrWriter().u64(this.clientId))]);
    } catch {
      // Its lease ends.
    } finally {
      this.connection.close();
    }
  }
}

async function compound(connection: RpcConnection, operations: Operation[]): Promise<unknown[]> {
  const args = new XdrWriter().opaque('').u32(MINOR_VERSION).u32(operations.length);
  for (const one of operations) args.u32(one.number).fixed(one.args.bytes());
  const answer = await connection.call(PROGRAM, NFS_VERSION, COMPOUND, args.bytes());
  const status = answer.u32();
  answer.opaque(MAX_TAG);
  const count = answer.u32();
  if (count > operations.length) throw unavailable('the server answers more than was asked');
  const results: unknown[] = [];
  for (const one of operations.slice(0, count)) {
    if (answer.u32() !== one.number) throw unavailable('the server answers something else than was asked');
    const single = answer.u32();
    if (single !== Status.ok) throw new NfsError(single, results.length);
    results.push(one.read(answer));
  }
  if (status === Status.minorVersion) throw unsupported(statusText(status));
  if (status !== Status.ok || count < operations.length) throw new NfsError(status, count);
  return results;
}

/** Of fore or back channel: room for headers, sizes of messages, of cached answers, operations, slots, nothing for RDMA. */
function channel(args: XdrWriter, bytes: number, operations: number): void {
  args.u32(0).u32(bytes).u32(bytes).u32(4096).u32(operations).u32(1).u32(0);
}

function readClient(result: XdrReader): { clientId: bigint; sequence: number } {
  return { clientId: result.u64(), sequence: result.u32() };
}

function readSession(result: XdrReader): { id: Buffer; operations: number } {
  const id = Buffer.from(result.fixed(16));
  result.fixed(8);
  for (let word = 0; word < 4; word++) result.u32();
  return { id, operations: result.u32() };
}
