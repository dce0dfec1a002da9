/** Reactions of hostile guests to requests, by their description: "a guest that …". */
import { FieldWriter } from '../../tether/protocol/fields.js';
import { encodeRecord, FileReply } from '../../tether/protocol/files.js';
import { Message, OUTPUT_WINDOW } from '../../tether/protocol/frames.js';
import type { Behaviour, HostileGuest } from './hostile-guest.js';

const MIB = 1 << 20;
/** An exec's output has no log offset. */
const NO_PLACE = 2n ** 64n - 1n;
const DIRECTORY = 0o040755;
const LINK = 0o120777;
const FILE = 0o100644;

const u32 = (value: number): Buffer => new FieldWriter().u32(value).bytes();
const begins = (type: number): boolean => type === Message.exec || type === Message.files || type === Message.observe;

/** What every tether does, even a hostile one as long as it wants requests. */
const obliging: Behaviour = (guest, { type, session }) => {
  if (type === Message.ping) guest.say(Message.pong, session);
  if (type === Message.subscribe) guest.say(Message.subscribed, session);
  if (begins(type)) guest.started(session);
};

/** Repeats something as long as the other side takes it, but not at full speed: test and guests share a process. */
function endlessly(guest: HostileGuest, next: () => void, perTurn = 16): void {
  const go = (): void => {
    for (let i = 0; i < perTurn && !guest.closed && guest.socket.writableLength < MIB; i++) next();
    if (!guest.closed) setTimeout(go, 20);
  };
  go();
}

interface EntryFields {
  mode?: number;
  nlink?: number;
  size?: bigint;
  seconds?: bigint;
  ino?: bigint;
  target?: string;
}

function entry(
  path: string,
  { mode = DIRECTORY, nlink = 1, size = 0n, seconds = 0n, ino = 1n, target = '' }: EntryFields = {},
): Buffer {
  const fields = Buffer.alloc(84);
  fields.writeUInt32LE(mode, 0);
  fields.writeUInt32LE(nlink, 12);
  fields.writeBigUInt64LE(size, 16);
  for (const at of [24, 36, 48]) fields.writeBigInt64LE(seconds, at);
  fields.writeBigUInt64LE(ino, 60);
  const names = new FieldWriter().byteString(path).byteString(target).u32(0).bytes();
  return encodeRecord(FileReply.entry, Buffer.concat([fields, names]));
}

/** Answers of file servers that are impossible, or must not be believed. */
const WRONG_RECORDS: Buffer[] = [
  entry('../../../etc/passwd', { mode: FILE }),
  entry('a/../../b'),
  entry('/etc'),
  entry('a\0b'),
  entry('x'.repeat(5000)),
  entry('', { mode: FILE, size: 2n ** 63n }),
  entry('', { mode: FILE, size: 2n ** 53n - 1n }),
  entry('', { seconds: 2n ** 62n }),
  entry('', { seconds: -(2n ** 53n) + 1n }),
  entry('', { mode: LINK, target: '/x' }),
  entry('', { mode: LINK, target: 'y/'.repeat(2000) }),
  entry('', { mode: LINK, target: '\0' }),
  entry('', { mode: 0xffff_ffff, nlink: 0xffff_ffff }),
  encodeRecord(FileReply.content, Buffer.alloc(100)),
  encodeRecord(FileReply.content, Buffer.alloc(0)),
  encodeRecord(FileReply.done, Buffer.alloc(0)),
  encodeRecord(FileReply.error, Buffer.alloc(2)),
  encodeRecord(FileReply.error, new FieldWriter().u32(0xffff_ffff).string('x'.repeat(10_000)).string('\r\n').bytes()),
  encodeRecord(200, Buffer.alloc(10)),
  Buffer.concat([u32(0xffff_ffff), Buffer.of(FileReply.entry)]),
];

/** Each guest goes through them in order, each starting from a different one. */
const wrongNext = new WeakMap<HostileGuest, number>();
let wrongFirst = 0;

/** Keeps to its windows, so that the amount it sends is legitimate. */
class Windows {
  private readonly left = new Map<number, number>();

  /** Adds the credit that is granted. */
  hear(type: number, session: number, payload: Buffer): void {
    if (begins(type)) this.left.set(session, OUTPUT_WINDOW);
    if (type === Message.credit) this.left.set(session, (this.left.get(session) ?? 0) + payload.readUInt32LE(0));
  }

  take(session: number, bytes: number): boolean {
    const left = this.left.get(session) ?? 0;
    if (left < bytes) return false;
    this.left.set(session, left - bytes);
    return true;
  }
}
const windows = new WeakMap<HostileGuest, Windows>();

/** Guests whose calls wait, or fail at once. */
export const quiet: Record<string, Behaviour> = {
  'says nothing': () => undefined,
  'lives, and says nothing else': (guest, frame) => {
    if (frame.type === Message.ping) obliging(guest, frame);
  },
  'says that it has started, and then nothing': (guest, frame) => {
    if (frame.type !== Message.ping) obliging(guest, frame);
  },
  'says that it has started, and lives, and nothing else': obliging,
  'sends half of everything': (guest, frame) => {
    obliging(guest, frame);
    if (frame.type === Message.files) guest.output(frame.session, entry('').subarray(0, 50), { offset: NO_PLACE });
    if (frame.type === Message.observe) guest.output(frame.session, u32(100_000), { offset: NO_PLACE });
    if (frame.type === Message.exec)
      guest.raw(Buffer.concat([u32(60_000), Buffer.of(Message.output), u32(frame.session)]));
  },
  'hangs up when it is asked': (guest, { type }) => {
    if (type !== Message.ping && type !== Message.go) guest.close();
  },
  lies: (guest, { type, session }) => {
    guest.exited(0, 3);
    guest.started(session);
    guest.started(session);
    if (type === Message.limit) guest.say(Message.limited, session + 1, Buffer.from('no'));
  },
  'answers for other sessions': (guest, { type, session }) => {
    if (begins(type)) guest.started(session + 1);
    guest.output(session + 7, Buffer.from('here'));
    guest.exited(session + 3);
  },
  'tells of files what cannot be': (guest, frame) => {
    obliging(guest, frame);
    if (frame.type !== Message.files && frame.type !== Message.stdin) return;
    const next = wrongNext.get(guest) ?? wrongFirst++;
    wrongNext.set(guest, next + 1);
    guest.output(frame.session, WRONG_RECORDS[next % WRONG_RECORDS.length]!, { offset: NO_PLACE });
  },
  'ends everything at once, with codes that there are not': (guest, frame) => {
    obliging(guest, frame);
    if (begins(frame.type)) guest.exited(frame.session, 0xffff_ffff);
  },
};

/** Guests that send as much as they can. */
export const loud: Record<string, Behaviour> = {
  floods: (guest, frame) => {
    obliging(guest, frame);
    const { type, session } = frame;
    if (!begins(type) && type !== Message.subscribe) return;
    let offset = 16n;
    const data = Buffer.alloc(32_000, 'x');
    endlessly(guest, () => {
      guest.output(session, data, { offset });
      offset += 32_013n;
    });
  },
  'grants without end and reads nothing': (guest, { type, session }) => {
    if (!begins(type)) return;
    guest.started(session);
    guest.socket.pause();
    const timer = setInterval(() => {
      if (guest.closed) clearInterval(timer);
      else guest.grant(session, 0xffff_ffff);
    }, 5);
  },
  'sends records without end': (guest, frame) => {
    obliging(guest, frame);
    const { type, session, payload } = frame;
    const granted = windows.get(guest) ?? new Windows();
    windows.set(guest, granted);
    granted.hear(type, session, payload);
    if (type === Message.observe)
      guest.output(session, Buffer.concat([u32(8 * MIB), Buffer.alloc(1000)]), { offset: NO_PLACE });
    if (type !== Message.files) return;
    let number = 0;
    const next = (): string => `f${String(number++).padStart(9, '0')}`;
    endlessly(
      guest,
      () => {
        const records = Buffer.concat(Array.from({ length: 50 }, () => entry(next())));
        if (granted.take(session, records.length)) guest.output(session, records, { offset: NO_PLACE });
      },
      2,
    );
  },
  'sends its output byte by byte': (guest, frame) => {
    obliging(guest, frame);
    const { type, session, payload } = frame;
    const granted = windows.get(guest) ?? new Windows();
    windows.set(guest, granted);
    granted.hear(type, session, payload);
    if (!begins(type)) return;
    // The start of a record of zeros of the maximum length.
    const record = Buffer.concat([u32(MIB - 1), Buffer.alloc(1)]);
    let sent = 0;
    endlessly(
      guest,
      () => {
        for (let i = 0; i < 100 && granted.take(session, 1); i++)
          guest.output(session, Buffer.of(record[sent++] ?? 0), { offset: NO_PLACE });
      },
      1,
    );
  },
  'tells without end that memory was short': (guest, frame) => {
    obliging(guest, frame);
    if (frame.type === Message.go) endlessly(guest, () => guest.say(Message.oom, 0, Buffer.of(1)));
  },
};
