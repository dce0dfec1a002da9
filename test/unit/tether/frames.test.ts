import { describe, expect, it } from 'vitest';
import { encodeFrame, FRAME_HEAD, FrameParser, MAX_FRAME, Message, PREAMBLE } from '../../../tether/protocol/frames.js';

const frames = [
  encodeFrame(Message.hello, 0, Buffer.from([2, 0, 0, 0])),
  encodeFrame(Message.subscribed, 7),
  encodeFrame(Message.output, 0xffff_fffe, Buffer.alloc(40_000, 'payload ')),
  encodeFrame(Message.pong, 1, Buffer.from('x')),
];
const bytes = Buffer.concat([Buffer.from('left over'), PREAMBLE.subarray(0, 9), PREAMBLE, ...frames]);

function parse(pieces: Buffer[]): { type: number; session: number; payload: Buffer }[] {
  const parser = new FrameParser();
  return pieces.flatMap((piece) => parser.push(piece));
}

describe('frames', () => {
  it.each([1, 2, 3, 5, 9, 13, 64, 4096, 39_999, 65_536])('are the same in pieces of %i bytes', (size) => {
    const pieces: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
    const parsed = parse(pieces);
    expect(parsed.map(({ type, session }) => [type, session])).toEqual([
      [Message.hello, 0],
      [Message.subscribed, 7],
      [Message.output, 0xffff_fffe],
      [Message.pong, 1],
    ]);
    expect(Buffer.concat(parsed.map(({ type, session, payload }) => encodeFrame(type, session, payload)))).toEqual(
      Buffer.concat(frames),
    );
  });

  it.each([0, 4, MAX_FRAME + 1])('that claim to be %i bytes long are refused', (length) => {
    const head = Buffer.alloc(FRAME_HEAD);
    head.writeUInt32LE(length);
    expect(() => parse([PREAMBLE, head])).toThrow('damaged frame');
    expect(() => parse([PREAMBLE, head.subarray(0, 3), head.subarray(3)])).toThrow('damaged frame');
  });
});
