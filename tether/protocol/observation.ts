/**
 * What an observer in the guest sends (`tether/guest/observe.c`): for each byte of input one record of u32 length and pairs of strings
 * (u32 length and bytes), what and its text as the kernel gives it. Little-endian.
 */
import { internal } from '../../src/common/errors.js';

/** What can be asked for: the container's processes, or what it uses. */
export const Observation = { processes: 'p', usage: 's' } as const;

const MAX_RECORD = 8 << 20;
const MAX_PAIRS = 100_000;

/** Texts by name, e.g. `memory.stat`, `1/cmdline`. */
export type Facts = ReadonlyMap<string, Buffer>;

/** Gathers bytes into records. */
export class ObservationParser {
  private parts: Buffer[] = [];
  private length = 0;

  /** The records that are complete with these bytes. @throws internal when the guest sends nonsense */
  push(bytes: Buffer): Facts[] {
    this.parts.push(bytes);
    this.length += bytes.length;
    const records: Facts[] = [];
    for (;;) {
      if (this.length < 4) return records;
      // Put together only when there is something to take out: a long record comes in many pieces.
      if (this.parts[0]!.length < 4) this.parts = [Buffer.concat(this.parts)];
      const size = this.parts[0]!.readUInt32LE(0);
      if (size > MAX_RECORD) throw internal('the guest sent an observation that is too long');
      if (this.length < 4 + size) return records;
      const all = Buffer.concat(this.parts);
      records.push(facts(all.subarray(4, 4 + size)));
      this.parts = [all.subarray(4 + size)];
      this.length -= 4 + size;
    }
  }
}

function facts(record: Buffer): Facts {
  const result = new Map<string, Buffer>();
  let at = 0;
  const next = (): Buffer => {
    const size = at + 4 <= record.length ? record.readUInt32LE(at) : record.length;
    if (at + 4 + size > record.length) throw internal('the guest sent a damaged observation');
    const text = record.subarray(at + 4, at + 4 + size);
    at += 4 + size;
    return text;
  };
  while (at < record.length) {
    if (result.size >= MAX_PAIRS) throw internal('the guest sent an observation with too many parts');
    const name = next().toString('latin1');
    result.set(name, next());
  }
  return result;
}
