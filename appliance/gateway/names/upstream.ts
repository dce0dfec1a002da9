/** Asks one server one question. */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import type { AddressPort } from '../../../src/porter/messages.js';
import type { Question } from './question.js';
import {
  AUTHENTIC,
  ednsRecord,
  FLAG,
  HEAD_BYTES,
  type Message,
  OPCODE_MASK,
  passedOptions,
  RCODE,
  readMessage,
  UNCHECKED,
} from './wire.js';

/** No fragments on any network: DNS flag day 2020. */
const EDNS_BYTES = 1232;
/** Messages that are no answer to the question are ignored, but not without end: somebody is guessing. */
const MAX_WRONG = 32;
const MAX_TCP_BYTES = 65_535;

/** How to reach a server: tests have others than the network. */
export interface Transport {
  /** @param query without its number @throws Error when no answer comes within `ms` */
  udp(server: AddressPort, query: Query, ms: number): Promise<Message>;
  tcp(server: AddressPort, query: Query, ms: number): Promise<Message>;
}

/** A question to a server. */
export interface Query {
  wire: Buffer;
  /** Length of the question in it. */
  questionBytes: number;
}

/** @param plain without EDNS: there are servers that know nothing of it */
export function queryOf({ wire, flags, edns }: Question, plain: boolean): Query {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt16BE(FLAG.recursion | (flags & (AUTHENTIC | UNCHECKED)), 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(plain ? 0 : 1, 10);
  const options = edns === null ? Buffer.alloc(0) : passedOptions(edns.options);
  const own = plain ? Buffer.alloc(0) : ednsRecord({ size: EDNS_BYTES, secure: edns?.secure === true, options });
  return { wire: Buffer.concat([head, wire, own]), questionBytes: wire.length };
}

/** The answer, if that is what it is: of that number, to that question. */
export function answerTo({ wire, questionBytes }: Query, raw: Buffer): Message | null {
  const answer = readMessage(raw);
  if (answer === null || answer.id !== wire.readUInt16BE(0)) return null;
  if ((answer.flags & FLAG.response) === 0 || (answer.flags & OPCODE_MASK) !== 0) return null;
  const rcode = answer.flags & 0xf;
  // A server that could not read the question cannot repeat it.
  if (answer.questionEnd === HEAD_BYTES) return rcode === RCODE.formErr || rcode === RCODE.notImp ? answer : null;
  const asked = wire.subarray(HEAD_BYTES, HEAD_BYTES + questionBytes);
  const told = raw.subarray(HEAD_BYTES, answer.questionEnd);
  return lower(asked) === lower(told) ? answer : null;
}

const lower = (question: Buffer): string => question.toString('latin1').toLowerCase();

/** The query with a number that nobody can guess. */
function numbered({ wire, questionBytes }: Query): Query {
  const own = Buffer.from(wire);
  own.writeUInt16BE(randomInt(0x10000), 0);
  return { wire: own, questionBytes };
}

/** Over the network: each question from a port of its own, so that this cannot be guessed either. */
export const network: Transport = {
  udp: (server, given, ms) =>
    new Promise((resolve, reject) => {
      const query = numbered(given);
      const socket = createSocket(isIPv6(server.address) ? 'udp6' : 'udp4');
      let wrong = 0;
      let ended = false;
      const end = (result: Message | Error): void => {
        if (ended) return;
        ended = true;
        clearTimeout(timer);
        socket.close();
        if (result instanceof Error) reject(result);
        else resolve(result);
      };
      const timer = setTimeout(() => end(new Error('no answer')), ms);
      socket.on('error', end);
      socket.on('message', (raw) => {
        const answer = answerTo(query, raw);
        if (answer !== null) end(answer);
        else if (++wrong >= MAX_WRONG) end(new Error('too many messages that are no answer'));
      });
      // Connected: the kernel takes nothing from anybody else, and says at once when nobody listens there.
      socket.connect(server.port, server.address, () => {
        if (!ended) socket.send(query.wire);
      });
    }),
  tcp: (server, given, ms) =>
    new Promise((resolve, reject) => {
      const query = numbered(given);
      const socket = connect({ host: server.address, port: server.port, noDelay: true });
      let received = Buffer.alloc(0);
      const end = (result: Message | Error): void => {
        clearTimeout(timer);
        socket.destroy();
        if (result instanceof Error) reject(result);
        else resolve(result);
      };
      const timer = setTimeout(() => end(new Error('no answer')), ms);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(query.wire.length);
      socket.on('error', end);
      socket.on('close', () => end(new Error('the server hung up')));
      socket.on('connect', () => socket.write(Buffer.concat([length, query.wire])));
      socket.on('data', (part) => {
        received = Buffer.concat([received, part]);
        if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) {
          if (received.length > 2 + MAX_TCP_BYTES) end(new Error('too much'));
          return;
        }
        end(answerTo(query, received.subarray(2, 2 + received.readUInt16BE(0))) ?? new Error('it is no answer'));
      });
    }),
};
