/**
 * What an observer in the guest sends (`tether/guest/observe.c`): for each byte of input, one record of u32 length and pairs of strings
 * (u32 length and bytes), a name and the kernel's text of that name. Little-endian.
 */
import { internal } from '../../src/common/errors.js';
import { RecordGatherer } from './record-gatherer.js';

/** What can be asked for: the container's processes, or the resources it uses. */
export const Observation = { processes: 'p', usage: 's' } as const;

/** An observer stops listing processes when its record is this long. */
export const MAX_PROCESSES = 6 << 20;
/** The most that an observer sends of one of the kernel's files, in bytes. For files about a process it is less. */
export const MAX_TEXT = 65_536;
export const MAX_STAT = 4096;
export const MAX_STATUS = 8192;
export const MAX_ARGUMENTS = 4096;

/** Longest records accepted: somewhat more than an observer sends. */
const MAX_RECORD: Readonly<Record<string, number>> = {
  [Observation.processes]: 8 << 20,
  [Observation.usage]: 1 << 20,
};
const MAX_PAIRS = 100_000;

/** Texts by name, e.g. `memory.stat`, `1/cmdline`. */
export type Facts = ReadonlyMap<string, Buffer>;

/** Gathers bytes into records. */
export class ObservationParser {
  private readonly records = new RecordGatherer(4, 1 << 20, 'the guest sent an observation that is too long');

  /** @param what of `Observation` was asked for */
  asked(what: string): void {
    this.records.most = MAX_RECORD[what] ?? 0;
  }

  /** The records completed by these bytes. @throws internal when they are damaged */
  push(bytes: Buffer): Facts[] {
    return Array.from(this.records.push(bytes), (record) => facts(record.subarray(4)));
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
  for (let pairs = 0; at < record.length; pairs++) {
    if (pairs >= MAX_PAIRS) throw internal('the guest sent an observation with too many parts');
    const name = next().toString('latin1');
    result.set(name, next());
  }
  return result;
}
