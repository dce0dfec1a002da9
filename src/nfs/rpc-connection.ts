/** ONC RPC (RFC 5531) over TCP: one call at a time, as the user that the caller names (AUTH_SYS). */
import { createConnection, type Socket } from 'node:net';
import { messageOf, timeout, unavailable } from '../common/errors.js';
import { XdrReader, XdrWriter } from './xdr.js';

const VERSION = 2;
const [CALL, REPLY] = [0, 1];
const [AUTH_NONE, AUTH_SYS] = [0, 1];
const LAST_FRAGMENT = 0x80000000;
/** The largest answer that is read. */
const MAX_ANSWER = 2 ** 20;
const MAX_VERIFIER = 400;

/** Where a server is, and who we are for it. */
export interface RpcTarget {
  host: string;
  port: number;
  uid: number;
  gid: number;
}

/** What waits for the next answer. */
interface Waiting {
  resolve(answer: Buffer): void;
  reject(error: Error): void;
}

export class RpcConnection {
  private received = Buffer.alloc(0);
  private fragments: Buffer[] = [];
  private waiting: Waiting | null = null;
  private failure: Error | null = null;
  private xid = Math.floor(Math.random() * 2 ** 32);

  private constructor(
    private readonly socket: Socket,
    private readonly target: RpcTarget,
    private readonly answerMs: number,
  ) {
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.take(chunk));
    socket.on('error', (error) => this.fail(unavailable(messageOf(error), error)));
    socket.on('close', () => this.fail(unavailable('the server has closed the connection')));
  }

  /** @param answerMs how long the connection may take, and each answer @throws unavailable, timeout */
  static async open(target: RpcTarget, answerMs: number): Promise<RpcConnection> {
    const { host, port } = target;
    const socket = createConnection({ host, port });
    const timer = setTimeout(() => socket.destroy(timeout('it does not answer')), answerMs);
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve);
        socket.once('error', reject);
      });
    } catch (error) {
      socket.destroy();
      throw error instanceof Error && error.name === 'CaissonError' ? error : unavailable(messageOf(error), error);
    } finally {
      clearTimeout(timer);
    }
    socket.removeAllListeners('error');
    return new RpcConnection(socket, target, answerMs);
  }

  /** The results of a procedure. Calls must follow each other. @throws unavailable, timeout, invalid */
  async call(program: number, version: number, procedure: number, args: Buffer): Promise<XdrReader> {
    if (this.failure !== null) throw this.failure;
    this.xid = (this.xid + 1) >>> 0;
    const { uid, gid } = this.target;
    const credential = new XdrWriter().u32(0).opaque('caisson').u32(uid).u32(gid).words([]).bytes();
    const call = new XdrWriter().u32(this.xid).u32(CALL).u32(VERSION).u32(program).u32(version).u32(procedure);
    call.u32(AUTH_SYS).opaque(credential).u32(AUTH_NONE).u32(0);
    const message = Buffer.concat([call.bytes(), args]);
    const head = new XdrWriter().u32((LAST_FRAGMENT + message.length) >>> 0).bytes();
    const timer = setTimeout(() => this.fail(timeout('it does not answer')), this.answerMs);
    try {
      const answer = await new Promise<Buffer>((resolve, reject) => {
        this.waiting = { resolve, reject };
        this.socket.write(Buffer.concat([head, message]));
      });
      return this.results(new XdrReader(answer));
    } finally {
      clearTimeout(timer);
      this.waiting = null;
    }
  }

  close(): void {
    this.socket.destroy();
  }

  private results(answer: XdrReader): XdrReader {
    if (answer.u32() !== this.xid || answer.u32() !== REPLY) throw unavailable('it gives an answer to another call');
    if (answer.u32() !== 0) throw unavailable('it does not accept the credentials (AUTH_SYS)');
    answer.u32();
    answer.opaque(MAX_VERIFIER);
    const status = answer.u32();
    if (status === 1 || status === 2) throw unavailable('it does not speak NFS 4');
    if (status !== 0) throw unavailable(`it refuses a call (accept status ${status})`);
    return answer;
  }

  private fail(error: Error): void {
    this.failure ??= error;
    this.waiting?.reject(this.failure);
    this.socket.destroy();
  }

  private take(chunk: Buffer): void {
    this.received = Buffer.concat([this.received, chunk]);
    while (this.received.length >= 4) {
      const head = this.received.readUInt32BE();
      const length = head & 0x7fffffff;
      const before = this.fragments.reduce((sum, one) => sum + one.length, 0);
      if (before + length > MAX_ANSWER || this.fragments.length > 1000)
        this.fail(unavailable('its answer is too large'));
      if (this.failure !== null || this.received.length < 4 + length) return;
      this.fragments.push(this.received.subarray(4, 4 + length));
      this.received = this.received.subarray(4 + length);
      if (head < LAST_FRAGMENT) continue;
      const answer = Buffer.concat(this.fragments);
      this.fragments = [];
      if (this.waiting === null) this.fail(unavailable('an answer that nobody asked for'));
      else this.waiting.resolve(answer);
    }
  }
}
