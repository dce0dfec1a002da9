/** The VM's end of a channel, played by a test: it sends what the test wants, even if no tether would. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { FieldWriter } from '../../tether/protocol/fields.js';
import { encodeFrame, type Frame, FrameParser, Message, PREAMBLE } from '../../tether/protocol/frames.js';

const u32 = (value: number): Buffer => new FieldWriter().u32(value).bytes();

/** An output frame's payload. */
export function outputPayload(data: Buffer, { stream = 1, timeNs = 1n, offset = 0n } = {}): Buffer {
  return new FieldWriter().u8(stream).u64(timeNs).u64(offset).raw(data).bytes();
}

/** A hostile guest's reaction to a request. */
export type Behaviour = (guest: HostileGuest, frame: Frame) => void;

/** One connection. Reads as long as {@link reading}; frames go to the behaviour. */
export class HostileGuest {
  readonly frames: Frame[] = [];
  closed = false;
  /** Bytes written so far, whether or not the other side has taken them. */
  written = 0;
  private readonly parser = new FrameParser(16 << 20);

  private constructor(
    readonly socket: Socket,
    private readonly behaviour: Behaviour,
  ) {
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.closed = true;
    });
    socket.on('data', (bytes) => {
      for (const frame of this.parser.push(bytes)) {
        this.frames.push({ ...frame, payload: Buffer.from(frame.payload.subarray(0, 1024)) });
        if (this.frames.length > 10_000) this.frames.splice(0, 5000);
        this.behaviour(this, frame);
      }
    });
  }

  /** Connects and greets. @param greets false: it is completely silent @param reads false: it reads nothing */
  static async connect(
    path: string,
    behaviour: Behaviour = () => undefined,
    { greets = true, reads = true } = {},
  ): Promise<HostileGuest> {
    const socket = connect(path);
    await once(socket, 'connect');
    const guest = new HostileGuest(socket, behaviour);
    if (!reads) socket.pause();
    if (greets) {
      guest.raw(PREAMBLE);
      guest.say(Message.hello, 0, u32(3));
    }
    return guest;
  }

  raw(bytes: Buffer): boolean {
    this.written += bytes.length;
    return this.socket.write(bytes);
  }

  say(type: number, session: number, payload?: Buffer): boolean {
    return this.raw(encodeFrame(type, session, payload));
  }

  started(session: number, pid = 1): void {
    this.say(Message.started, session, u32(pid));
  }

  exited(session: number, code = 0): void {
    this.say(Message.exited, session, Buffer.concat([u32(code), u32(0), Buffer.of(0)]));
  }

  grant(session: number, bytes: number): void {
    this.say(Message.stdinCredit, session, u32(bytes));
  }

  output(session: number, data: Buffer, options: Parameters<typeof outputPayload>[1] = {}): boolean {
    return this.say(Message.output, session, outputPayload(data, options));
  }

  /** A frame of a type, waiting for it if it has not arrived yet. */
  async heard(type: number): Promise<Frame> {
    for (;;) {
      const found = this.frames.find((frame) => frame.type === type);
      if (found !== undefined) return found;
      if (this.closed) throw new Error('the endpoint has hung up');
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  /** Writes as fast as possible, until it is hung up on or has written this much. @returns bytes written */
  async flood(next: () => Buffer, most: number): Promise<number> {
    const before = this.written;
    while (!this.closed && this.written - before < most) {
      if (this.raw(next())) await new Promise((resolve) => setImmediate(resolve));
      else await Promise.race([once(this.socket, 'drain'), once(this.socket, 'close')]).catch(() => undefined);
    }
    return this.written - before;
  }

  async hungUp(ms = 60_000): Promise<boolean> {
    for (const deadline = Date.now() + ms; !this.closed && Date.now() < deadline; )
      await new Promise((resolve) => setTimeout(resolve, 5));
    return this.closed;
  }

  close(): void {
    this.socket.destroy();
  }
}
