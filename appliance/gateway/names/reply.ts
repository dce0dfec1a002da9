/** Answers as an asker gets them: about containers, or what a server has said. Pure. */
import packet, { type StringAnswer } from 'dns-packet';
import { type AnswerParts, answerOf, type Question } from './question.js';
import {
  AUTHENTIC,
  addressOf,
  ednsOf,
  FLAG,
  HEAD_BYTES,
  type Message,
  passedOptions,
  type RecordPlace,
  rcodeOf,
  TYPE,
} from './wire.js';

/** Seconds. What Docker tells of containers' names. */
export const CONTAINER_TTL = 600;
const NONE = Buffer.alloc(0);

/** An answer about a container. @param limit how many bytes it may have */
export function localAnswer(
  question: Question,
  type: 'A' | 'AAAA' | 'PTR',
  data: readonly string[],
  limit: number,
): Buffer {
  const name = question.name ?? '';
  const records = data.map((one): Buffer => {
    const answers: StringAnswer[] = [{ type, name, class: 'IN', ttl: CONTAINER_TTL, data: one }];
    const record = packet.encode({ type: 'response', answers }).subarray(HEAD_BYTES);
    // In the asker's spelling. Names in messages are compared without regard to case, but not by everybody.
    question.wire.copy(record, 0, 0, question.wire.length - 4);
    return record;
  });
  return fitted(question, { flags: 0, rcode: 0, options: null }, records, [], limit);
}

/** What a server has said, in the form in which it is kept: without what belongs to one question only. */
export interface Kept {
  message: Message;
  /** When it was said, in ms. */
  at: number;
}

/** What a server has said, for one asker. @param now in ms: what is kept grows old @param limit how many bytes it may have */
export function passedAnswer(question: Question, { message, at }: Kept, now: number, limit: number): Buffer {
  const age = Math.max(0, Math.floor((now - at) / 1000));
  const of = (section: RecordPlace['section']): Buffer[] =>
    message.records.filter((one) => one.section === section).map((one) => aged(message, one, age));
  const asks = (question.flags & AUTHENTIC) !== 0 || question.edns?.secure === true;
  const flags = message.flags & (FLAG.authoritative | FLAG.truncated | (asks ? AUTHENTIC : 0));
  const options = ednsOf(message)?.options ?? NONE;
  return fitted(
    question,
    { flags, rcode: rcodeOf(message), options: passedOptions(options) },
    of('answer'),
    of('authority'),
    limit,
  );
}

/** The addresses that an answer tells, and for how many seconds the first of its records is valid. */
export function toldAddresses({ message, at }: Kept, now: number): { addresses: string[]; ttl: number } {
  const answers = message.records.filter(({ section }) => section === 'answer');
  const age = Math.max(0, Math.floor((now - at) / 1000));
  return {
    addresses: answers.flatMap((one) => addressOf(message.wire, one) ?? []),
    ttl: Math.max(0, Math.min(...answers.map(({ ttl }) => ttl)) - age),
  };
}

/** A record's bytes. Those before it stay what they were up to the records of EDNS, so pointers into them stay right. */
function aged({ wire }: Message, { start, end, ttl, ttlAt, type }: RecordPlace, age: number): Buffer {
  const record = Buffer.from(wire.subarray(start, end));
  if (type !== TYPE.OPT) record.writeUInt32BE(Math.max(0, ttl - age), ttlAt - start);
  return record;
}

/** As many records as there is room for; if some are missing, the answer says that it is cut off. */
function fitted(
  question: Question,
  parts: Pick<AnswerParts, 'flags' | 'rcode' | 'options'>,
  answers: Buffer[],
  authorities: Buffer[],
  limit: number,
): Buffer {
  const make = (first: Buffer[], second: Buffer[], more = 0): Buffer =>
    answerOf(question, {
      ...parts,
      flags: parts.flags | more,
      records: Buffer.concat([...first, ...second]),
      answers: first.length,
      authorities: second.length,
    });
  const whole = make(answers, authorities);
  if (whole.length <= limit) return whole;
  // Without them an answer that says that there is nothing is still right, but nobody may keep it.
  const shorter = make(answers, []);
  if (answers.length > 0 && shorter.length <= limit) return shorter;
  const room = limit - make([], []).length;
  let fitting = 0;
  for (let used = 0; fitting < answers.length; fitting++) {
    used += answers[fitting]!.length;
    if (used > room) break;
  }
  return make(answers.slice(0, fitting), [], FLAG.truncated);
}
