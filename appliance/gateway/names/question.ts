/** Reads what a container asks. It may send anything: whatever cannot be answered is refused here, in DNS's words. Pure. */
import {
  AUTHENTIC,
  CLASS_IN,
  type Edns,
  ednsOf,
  ednsRecord,
  FLAG,
  HEAD_BYTES,
  OPCODE_MASK,
  questionName,
  RCODE,
  readMessage,
  TYPE,
  UNCHECKED,
} from './wire.js';

/** What every message over UDP may have (RFC 1035, 4.2.1). */
export const PLAIN_BYTES = 512;
/** No answer over UDP is larger, whatever an asker takes. */
export const MOST_UDP_BYTES = 4096;

/** A question that can be answered. */
export interface Question {
  id: number;
  /** The asker's flags: whether it wants recursion, and what it says of DNSSEC. */
  flags: number;
  /** As it stands in the message: name, type and class. */
  wire: Buffer;
  /** In lower case, without a dot at its end; null: no container can be called that. */
  name: string | null;
  type: number;
  /** Null: it knows nothing of EDNS. */
  edns: Edns | null;
}

export type Reading =
  | { kind: 'question'; question: Question }
  /** To be answered with these bytes. */
  | { kind: 'refused'; answer: Buffer }
  /** No question at all: an answer to it could be answered again, without end. */
  | { kind: 'nothing' };

/** @param raw a message of an asker's */
export function readQuestion(raw: Buffer): Reading {
  if (raw.length < HEAD_BYTES || (raw.readUInt16BE(2) & FLAG.response) !== 0) return { kind: 'nothing' };
  const head = { id: raw.readUInt16BE(0), flags: raw.readUInt16BE(2) };
  if ((head.flags & OPCODE_MASK) !== 0) return refusal(head, RCODE.notImp);
  const message = readMessage(raw);
  if (message === null || message.questionEnd === HEAD_BYTES) return refusal(head, RCODE.formErr);
  const wire = raw.subarray(HEAD_BYTES, message.questionEnd);
  const type = wire.readUInt16BE(wire.length - 4);
  const edns = ednsOf(message);
  if (edns === undefined) return refusal(head, RCODE.formErr);
  const question: Question = {
    id: head.id,
    flags: head.flags & (FLAG.recursion | AUTHENTIC | UNCHECKED),
    wire,
    name: questionName(message),
    type,
    edns,
  };
  if (edns !== null && edns.version !== 0) return { kind: 'refused', answer: emptyAnswer(question, RCODE.badVers) };
  if (wire.readUInt16BE(wire.length - 2) !== CLASS_IN)
    return { kind: 'refused', answer: emptyAnswer(question, RCODE.refused) };
  // Nobody's whole zone is told.
  if (type === TYPE.AXFR || type === TYPE.IXFR) return { kind: 'refused', answer: emptyAnswer(question, RCODE.notImp) };
  return { kind: 'question', question };
}

/** The largest answer over UDP that the asker takes. */
export function udpLimit({ edns }: Question): number {
  return edns === null ? PLAIN_BYTES : Math.min(Math.max(edns.size, PLAIN_BYTES), MOST_UDP_BYTES);
}

/** An answer without the question, which could not be read. */
function refusal({ id, flags }: { id: number; flags: number }, rcode: number): Reading {
  const answer = Buffer.alloc(HEAD_BYTES);
  answer.writeUInt16BE(id, 0);
  answer.writeUInt16BE(FLAG.response | (flags & (OPCODE_MASK | FLAG.recursion)) | rcode, 2);
  return { kind: 'refused', answer };
}

/** An answer without records. */
export function emptyAnswer(question: Question, rcode: number): Buffer {
  return answerOf(question, { flags: 0, rcode, records: Buffer.alloc(0), answers: 0, authorities: 0, options: null });
}

/** Extended DNS errors (RFC 8914): code 15 is `Blocked`. */
const BLOCKED = Buffer.from([0, 15, 0, 2, 0, 15]);

/**
 * The answer to a question that the asker may not ask: there is no such name. Resolvers take that for an answer; after `REFUSED` some ask again
 * until their time is over. Nobody may keep it, since it has no SOA record (RFC 2308, 5).
 */
export function blockedAnswer(question: Question): Buffer {
  const none = { flags: 0, records: Buffer.alloc(0), answers: 0, authorities: 0 };
  return answerOf(question, { ...none, rcode: RCODE.nxDomain, options: BLOCKED });
}

/** What stands in an answer besides what its question says. */
export interface AnswerParts {
  /** Bits of the header, besides those that every answer has. */
  flags: number;
  rcode: number;
  records: Buffer;
  answers: number;
  authorities: number;
  /** EDNS options; null: none. */
  options: Buffer | null;
}

/** An answer as the asker gets it: with its number, its spelling of the name, and EDNS if it asked with it. */
export function answerOf(question: Question, parts: AnswerParts): Buffer {
  const { id, flags, wire, edns } = question;
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt16BE(id, 0);
  head.writeUInt16BE(FLAG.response | FLAG.available | (flags & ~AUTHENTIC) | parts.flags | (parts.rcode & 0xf), 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(parts.answers, 6);
  head.writeUInt16BE(parts.authorities, 8);
  head.writeUInt16BE(edns === null ? 0 : 1, 10);
  return Buffer.concat([head, wire, parts.records, ownEdns(edns, parts)]);
}

function ownEdns(edns: Edns | null, { rcode, options }: AnswerParts): Buffer {
  if (edns === null) return Buffer.alloc(0);
  const own = { size: MOST_UDP_BYTES, secure: edns.secure, options: options ?? Buffer.alloc(0) };
  return ednsRecord(own, rcode);
}
