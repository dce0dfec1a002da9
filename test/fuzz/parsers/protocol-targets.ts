/** Input from guests: channel, log, file servers, observers, GuestRPC, status. Results must not depend on the split. */
import { isDeepStrictEqual } from 'node:util';
import { parseRunStatus } from '../../../port-layer/exec/run-status.js';
import { parseProcesses } from '../../../port-layer/observe/processes.js';
import { parseUsage } from '../../../port-layer/observe/usage.js';
import { CaissonError } from '../../../src/common/errors.js';
import { encodeGuestRpc, GuestRpcAnswers, takeGuestRpc } from '../../../src/hostd/qemu/guest-rpc.js';
import { guestAddresses } from '../../../src/hostd/vm/guest-addresses.js';
import { FieldWriter } from '../../../tether/protocol/fields.js';
import { encodeRecord, FileRecordParser, FileReply } from '../../../tether/protocol/files.js';
import { encodeFrame, FrameParser, Message, PREAMBLE } from '../../../tether/protocol/frames.js';
import { LogParser, MARK, RUN_HEADER } from '../../../tether/protocol/log.js';
import { ObservationParser } from '../../../tether/protocol/observation.js';
import type { Random } from '../../support/random.js';
import type { Target } from './engine.js';
import { pieces } from './mutate.js';

/** A parser's result for the whole input and for pieces; both must give the same refusal or the same result. */
function inPieces<T>(make: () => { push(bytes: Buffer): T[]; finish?(): T[] }, input: Buffer, random: Random): T[] {
  const take = (parts: Buffer[]): { given: T[]; refusal: CaissonError | null } => {
    const parser = make();
    const given: T[] = [];
    try {
      for (const part of parts) given.push(...parser.push(part));
      given.push(...(parser.finish?.() ?? []));
    } catch (error) {
      if (!(error instanceof CaissonError)) throw error;
      return { given, refusal: error };
    }
    return { given, refusal: null };
  };
  const whole = take([input]);
  const cut = take(pieces(input, random));
  if (whole.refusal?.message !== cut.refusal?.message) throw new Error('in pieces it is refused otherwise');
  if (whole.refusal !== null) throw whole.refusal;
  if (!isDeepStrictEqual(whole.given, cut.given)) throw new Error('in pieces it means something else');
  return whole.given;
}

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const text = (value: string): Buffer => Buffer.concat([u32(value.length), Buffer.from(value)]);
const observation = (...pairs: [string, string][]): Buffer => {
  const body = Buffer.concat(pairs.flatMap(([name, value]) => [text(name), text(value)]));
  return Buffer.concat([u32(body.length), body]);
};
const logRecord = (stream: number, data: string): Buffer =>
  Buffer.concat([Buffer.alloc(8, 1), Buffer.from([stream]), text(data)]);

const frames: Target = {
  name: 'frames',
  seeds: [
    Buffer.concat([PREAMBLE, encodeFrame(Message.hello, 0, u32(3)), encodeFrame(Message.started, 7, u32(42))]),
    Buffer.concat([
      PREAMBLE,
      encodeFrame(Message.output, 0, Buffer.alloc(40, 1)),
      encodeFrame(Message.exited, 0, Buffer.alloc(9)),
    ]),
  ],
  tokens: [PREAMBLE, u32(5), u32(1 << 20), u32((1 << 20) + 1)],
  run(input, random) {
    const given = inPieces(() => new FrameParser(), input, random);
    return `${Math.min(given.length, 9)} ${given.map(({ type }) => type).slice(0, 3)}`;
  },
};

const log: Target = {
  name: 'log',
  seeds: [
    Buffer.concat([
      RUN_HEADER,
      logRecord(1, 'hello\n'),
      logRecord(2, 'oops\n'),
      MARK,
      Buffer.alloc(8),
      logRecord(1, 'x'),
    ]),
    Buffer.concat([RUN_HEADER, logRecord(1, 'cut').subarray(0, 14), RUN_HEADER, logRecord(1, 'again\n')]),
  ],
  tokens: [RUN_HEADER, MARK, u32(32_768), u32(32_769)],
  run(input, random) {
    const given = inPieces(() => new LogParser(), input, random);
    inPieces(() => new LogParser(1000), input, random);
    for (const { position, offset } of given) if (offset < 0 || position < 0) throw new Error('a place before the log');
    return `${Math.min(given.length, 9)} ${given.filter(({ stream }) => stream === 'stderr').length > 0}`;
  },
};

const entry = (path: string, target: string): Buffer =>
  encodeRecord(FileReply.entry, Buffer.concat([Buffer.alloc(84, 1), text(path), text(target), text('')]));

const files: Target = {
  name: 'file-records',
  seeds: [
    Buffer.concat([
      entry('etc/passwd', ''),
      encodeRecord(FileReply.content, Buffer.from('root')),
      encodeRecord(FileReply.done, Buffer.alloc(0)),
    ]),
    encodeRecord(
      FileReply.error,
      Buffer.concat([u32(2), new FieldWriter().byteString('lstat').byteString('x').bytes()]),
    ),
  ],
  tokens: [u32(88), u32(100), u32(1 << 20), '../', Buffer.alloc(8, 0xff), Buffer.alloc(8, 0x7f)],
  run(input, random) {
    const given = inPieces(() => new FileRecordParser(), input, random);
    for (const record of given)
      if (record.type === 'entry' && !Number.isSafeInteger(record.entry.size)) throw new Error('a size that is none');
    return `${Math.min(given.length, 9)} ${given.map(({ type }) => type).slice(0, 3)}`;
  },
};

const observations: Target = {
  name: 'observations',
  seeds: [
    observation(
      ['tick', '100'],
      ['page', '4096'],
      ['uptime', '5000000000'],
      ['time', '1700000000000000000'],
      ['1/stat', '1 (sh) S 0 1 1 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 12 1000 20'],
      ['1/cmdline', 'sh\0-c\0x'],
      ['1/status', 'Name:\tsh\nUid:\t0\t0\t0\t0\n'],
      ['passwd', 'root:x:0:0::/:/bin/sh\n'],
      ['group', 'root:x:0:\n'],
    ),
    observation(
      ['memory.stat', 'anon 4096\nfile 100\n'],
      ['memory.current', '5000'],
      ['cpu.stat', 'usage_usec 5\nuser_usec 3\n'],
      ['net/dev', 'Inter-|\n face |\n eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n'],
      ['io.stat', '254:0 rbytes=1 wbytes=2 rios=3 wios=4\n'],
      ['pids.current', '3'],
      ['stat', 'cpu 1 2 3 4\n'],
    ),
  ],
  tokens: ['/stat', '(', ')', '\0', '\n', '18446744073709551615', '-1', '1e999', 'meminfo', u32(0xffff), u32(8 << 20)],
  run(input, random) {
    const given = inPieces(() => new ObservationParser(), input, random);
    let processes = 0;
    for (const facts of given) {
      processes += parseProcesses(facts, new Date(0)).processes.length;
      const usage = parseUsage(facts, new Date(0));
      JSON.stringify(usage, (_, value: unknown) => {
        if (typeof value === 'number' && !Number.isFinite(value)) throw new Error('a number that is none');
        return typeof value === 'bigint' ? String(value) : value;
      });
    }
    return `${Math.min(given.length, 5)} ${Math.min(processes, 5)}`;
  },
};

const guestRpc: Target = {
  name: 'rpc-requests',
  seeds: [
    encodeGuestRpc('info-get guestinfo.caisson.program'),
    encodeGuestRpc('info-set guestinfo.caisson.run.status exited 0 0 0 1700000000000000000'),
    encodeGuestRpc('info-set guestinfo.caisson.run.addresses 00:50:56:00:00:01=172.16.0.2/16'),
    encodeGuestRpc('info-set guestinfo.caisson.run.status started 1700000000000000000 42'),
    encodeGuestRpc('info-set guestinfo.caisson.run.status failed 127 no such file'),
  ],
  tokens: ['info-get ', 'info-set ', 'guestinfo.', 'caisson.', '__proto__', ' ', '\n', '\0', '/', '=', ','],
  run(input) {
    const taken = takeGuestRpc(input);
    if (taken === null) return 'too long';
    const set = new Map<string, string>();
    const answers = new GuestRpcAnswers({
      infoGet: (key) => set.get(key),
      infoSet: (key, value) => void set.set(key, value),
    });
    const said = taken.requests.map((request) => answers.answer(request).slice(0, 12));
    for (const value of set.values()) {
      parseRunStatus(value);
      guestAddresses(new Map([['guestinfo.caisson.run.addresses', value]]));
    }
    return `${Math.min(said.length, 5)} ${said.slice(0, 2)} ${Math.min(set.size, 3)} ${[...set.values()].map((value) => parseRunStatus(value).kind)[0]}`;
  },
};

export const protocolTargets: readonly Target[] = [frames, log, files, observations, guestRpc];
