/** Guests that violate the channel's windows, or the protocol altogether: memory does not grow, and it is reported. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { OutputChunk } from '../../port-layer/index.js';
import { ContainerChannel } from '../../port-layer/interaction/container-channel.js';
import { OutputBudget } from '../../port-layer/interaction/output-budget.js';
import { FieldWriter } from '../../tether/protocol/fields.js';
import { encodeFrame, Message, OUTPUT_WINDOW } from '../../tether/protocol/frames.js';
import { OutputWindows } from '../../tether/protocol/output-windows.js';
import { type Behaviour, HostileGuest, outputPayload } from '../support/hostile-guest.js';

const PIECE = 32_000;
const MIB = 1 << 20;

let directory: string;
let path: string;
let channel: ContainerChannel;
let broken: string[];
const open: HostileGuest[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'caisson-hostile-'));
  path = join(directory, 'c.sock');
  await newChannel();
});
afterEach(async () => {
  for (const guest of open.splice(0)) guest.close();
  await channel.close(true);
  await rm(directory, { recursive: true, force: true });
});

async function newChannel(budget?: OutputBudget): Promise<void> {
  await channel?.close(true);
  channel = new ContainerChannel(path, budget);
  broken = [];
  channel.on('broken', (how) => broken.push(how));
  await channel.listen();
}

async function guest(behaviour?: Behaviour, options?: { greets?: boolean; reads?: boolean }): Promise<HostileGuest> {
  const one = await HostileGuest.connect(path, behaviour, options);
  open.push(one);
  return one;
}

/** Acknowledges subscriptions and starts whatever is requested, as a tether does. */
const obliging: Behaviour = (one, { type, session }) => {
  if (type === Message.subscribe) one.say(Message.subscribed, session);
  if (type === Message.exec || type === Message.files || type === Message.observe) one.started(session);
};

const output = (session: number, data: Buffer, offset = 0n): Buffer =>
  encodeFrame(Message.output, session, outputPayload(data, { offset }));

/** Output of session 0 with a consistent log offset. */
function logged(size: number): () => Buffer {
  let offset = 16n;
  const data = Buffer.alloc(size, 'x');
  return () => {
    const frame = output(0, data, offset);
    offset += BigInt(size + 13);
    return frame;
  };
}

/** Growth of the process while something is done, in bytes. */
async function growth(body: () => Promise<unknown>): Promise<number> {
  const before = process.memoryUsage().rss;
  await body();
  return process.memoryUsage().rss - before;
}

const readers: Record<string, () => Readable> = {
  'one that is attached': () => channel.attach(0, { paces: true, replay: async function* () {} }),
  'one of the log': () => channel.attach(0, { paces: false, replay: async function* () {} }),
  'one that cannot read again': () => channel.attach(0, { paces: true }),
};

describe('output without credit', () => {
  it.each(Object.keys(readers))('ends the connection, with a reader that does not read: %s', async (reader) => {
    const one = await guest(obliging);
    readers[reader]!();
    await one.heard(Message.subscribe);
    // Leaving out the log offset does not help either.
    for (const next of [logged(PIECE), () => output(0, Buffer.alloc(PIECE), 2n ** 64n - 1n)]) {
      const flooding = one.closed ? await guest(obliging) : one;
      await flooding.heard(Message.subscribe);
      expect(await growth(() => flooding.flood(next, 222 * MIB))).toBeLessThan(60 * MIB);
      expect(flooding.closed || reader === 'one of the log').toBe(true);
      flooding.close();
    }
  });

  it('is detected to the byte', () => {
    const windows = new OutputWindows();
    windows.subscribe(0);
    expect(windows.take(0, 1)).toBe('it sent more output than it was granted');
    expect(windows.subscribed(0)).toBe(true);
    expect(windows.take(0, OUTPUT_WINDOW)).toBeNull();
    windows.credit(0, 10);
    expect(windows.take(0, 10)).toBeNull();
    expect(windows.take(0, 1)).toBe('it sent more output than it was granted');
    // Output sent before a new subscription is acknowledged was granted by the previous one.
    windows.credit(0, 5);
    windows.subscribe(0);
    expect(windows.take(0, 5)).toBeNull();
    expect(windows.take(0, 1)).not.toBeNull();
    expect(windows.subscribed(0)).toBe(true);
    expect(windows.subscribed(0)).toBe(false);
    expect(windows.take(0, OUTPUT_WINDOW)).toBeNull();
    expect(windows.take(0, 1)).not.toBeNull();
  });

  it('in an exec ends it, and its reader gets an error', async () => {
    const one = await guest(obliging);
    const { session, output: read, started } = await channel.exec(Buffer.alloc(10));
    await started;
    const told = new Promise<Error>((resolve) => read.once('error', resolve));
    await one.flood(() => output(session, Buffer.alloc(PIECE)), 222 * MIB);
    expect(one.closed).toBe(true);
    expect((await told).message).toContain('the guest broke the protocol: it sent more output than it was granted');
  });

  it('sent byte by byte takes no more memory than in large pieces', async () => {
    const one = await guest(obliging);
    const { session, output: read, started } = await channel.exec(Buffer.alloc(10));
    await started;
    const small = Buffer.concat(
      Array.from({ length: 4096 }, (_, i) =>
        encodeFrame(Message.output, session, outputPayload(Buffer.of(i), { stream: 1 + (i % 2) })),
      ),
    );
    const most = OUTPUT_WINDOW / 4096;
    const grown = await growth(async () => {
      for (let i = 0; i < most; i++) {
        one.raw(small);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    });
    expect(grown).toBeLessThan(60 * MIB);
    expect(one.closed).toBe(false);
    let bytes = 0;
    let turns = 0;
    one.exited(session);
    for await (const { data, stream } of read as AsyncIterable<OutputChunk>) {
      expect(data[0]).toBe(bytes & 0xff);
      if (stream === 'stderr') turns++;
      bytes += data.length;
    }
    expect([bytes, turns]).toEqual([OUTPUT_WINDOW, OUTPUT_WINDOW / 2]);
  });

  it('to many stalled readers is held back in total, and arrives complete once they read', async () => {
    await newChannel(new OutputBudget(4 * MIB, 2 * MIB, 256 * 1024));
    const one = await guest(obliging);
    const sessions: number[] = [];
    const reads: Readable[] = [];
    for (let i = 0; i < 40; i++) {
      const begun = await channel.exec(Buffer.alloc(10));
      await begun.started;
      sessions.push(begun.session);
      reads.push(begun.output);
    }
    for (const session of sessions) for (let i = 0; i < 8; i++) one.output(session, Buffer.alloc(PIECE));
    await new Promise((resolve) => setTimeout(resolve, 300));
    const held = reads.reduce((sum, read) => sum + read.readableLength * PIECE, 0);
    expect(held).toBeLessThan(3 * MIB);
    // Readers that read get everything.
    let got = 0;
    for (const read of reads) {
      read.on('data', ({ data }: OutputChunk) => {
        got += data.length;
      });
    }
    await expect.poll(() => got).toBe(40 * 8 * PIECE);
    expect(one.closed).toBe(false);
  });
});

describe('input', () => {
  it('is not sent to a guest that grants 4 GiB and reads nothing', async () => {
    const one = await guest(obliging);
    const { session, started } = await channel.files(1);
    await started;
    one.socket.pause();
    const input = channel.stdin(session)!;
    let taken = 0;
    const write = (): void => {
      for (let more = true; more && taken < 400 * MIB; ) {
        taken += MIB;
        more = input.write(Buffer.alloc(MIB));
      }
    };
    input.on('drain', write);
    const grown = await growth(async () => {
      write();
      for (let i = 0; i < 200; i++) {
        one.grant(session, 0xffff_ffff);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    });
    expect(taken).toBeLessThanOrEqual(8 * MIB);
    expect(grown).toBeLessThan(60 * MIB);
  });

  it('is never more than one window ahead, whatever is granted', async () => {
    const one = await guest((self, frame) => {
      obliging(self, frame);
      if (frame.type === Message.exec) self.grant(frame.session, 0xffff_ffff);
    });
    const { session, started } = await channel.exec(Buffer.alloc(10));
    await started;
    const input = channel.stdin(session)!;
    let received = 0;
    one.socket.on('data', (bytes) => {
      received += bytes.length;
    });
    input.write(Buffer.alloc(4 * MIB));
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(received).toBeLessThan(300 * 1024);
  });
  it('of an ended session goes nowhere, and is not kept', async () => {
    const one = await guest((self, frame) => {
      obliging(self, frame);
      if (frame.type === Message.exec) self.exited(frame.session);
    });
    const { session, output: read, started } = await channel.exec(Buffer.alloc(10));
    await started;
    for await (const _ of read);
    const { connection } = channel as unknown as { connection: { inputs: Map<number, unknown> } };
    const input = channel.stdin(session)!;
    await expect(new Promise((resolve) => input.write('x', resolve))).resolves.toBeInstanceOf(Error);
    expect(connection.inputs.size).toBe(0);
    expect(one.closed).toBe(false);
  });
});

describe('messages that no tether sends', () => {
  const u32 = (value: number): Buffer => new FieldWriter().u32(value).bytes();
  const lies: Record<string, (one: HostileGuest, exec: number) => void> = {
    'output of a session that nobody started': (one) => one.output(77, Buffer.from('x')),
    'output without content': (one, exec) => {
      one.output(exec, Buffer.alloc(0));
    },
    'output of one that has ended': (one, exec) => {
      one.exited(exec);
      one.output(exec, Buffer.from('x'));
    },
    'output after the end of the first process': (one) => {
      one.exited(0);
      one.output(0, Buffer.from('x'), { offset: 100n });
    },
    'a place in the log before the last one': (one) => {
      one.output(0, Buffer.from('x'), { offset: 1000n });
      one.output(0, Buffer.from('x'), { offset: 10n });
    },
    'no place in the log': (one) => one.output(0, Buffer.from('x'), { offset: 2n ** 64n - 1n }),
    'that a process has started, twice': (one, exec) => one.started(exec),
    'that the first process has ended, twice': (one) => {
      one.exited(0);
      one.exited(0);
    },
    'that it starts again after its end': (one) => {
      one.exited(0);
      one.started(0);
    },
    'frames of no length': (one) => one.raw(u32(0)),
    'enormous frames': (one) => one.raw(Buffer.concat([u32(1 << 24), Buffer.alloc(100)])),
    'greetings without end': (one) => {
      for (let i = 0; i < 3000; i++) one.say(Message.hello, 0, u32(3));
    },
    'ends of sessions that there never were': (one) => {
      for (let i = 0; i < 3000; i++) one.exited(1_000_000 + i);
    },
    'answers to nothing': (one) => {
      for (let i = 0; i < 3000; i++) one.say(Message.frozen, i, Buffer.of(0));
    },
    'unknown words, long ones': (one) => {
      for (let i = 0; i < 100; i++) one.say(120, 0, Buffer.alloc(60_000));
    },
    'that it was killed for want of memory, again and again': (one) => {
      for (let i = 0; i < 50_000; i++) one.say(Message.oom, 0, Buffer.of(1));
    },
  };
  it.each(Object.keys(lies))('%s: the connection is closed, and that is reported', async (lie) => {
    const one = await guest(obliging);
    channel.attach(0, { paces: true, replay: async function* () {} }).resume();
    const exec = await channel.exec(Buffer.alloc(10));
    exec.output.on('error', () => undefined).resume();
    await exec.started;
    // Nothing wrong so far.
    expect(one.closed).toBe(false);
    const asked = channel.freeze(255);
    asked.catch(() => undefined);
    lies[lie]!(one, exec.session);
    expect(await one.hungUp()).toBe(true);
    expect(broken).toHaveLength(1);
    await expect(asked).rejects.toThrow(`the guest broke the protocol: ${broken[0]}`);
    // The next connection is accepted.
    await guest((self, frame) => {
      obliging(self, frame);
      if (frame.type === Message.freeze) self.say(Message.frozen, frame.session, Buffer.of(1));
    });
    expect(await channel.freeze(255)).toBe(1);
  });

  it('bytes without a start of frame', async () => {
    const one = await guest(undefined, { greets: false });
    await one.flood(() => Buffer.alloc(65_536), 64 * MIB);
    expect(one.closed).toBe(true);
  });
});

describe('a second peer', () => {
  it('is refused while the first one lives', async () => {
    const first = await guest((self, { type, session }) => {
      if (type === Message.ping) self.say(Message.pong, session);
    });
    const second = await guest();
    expect(await second.hungUp()).toBe(true);
    expect(first.closed).toBe(false);
  });

  it('replaces one that is gone at once, and one that does not answer soon', async () => {
    const first = await guest();
    first.close();
    const second = await guest();
    expect(await second.hungUp(3000)).toBe(false);
    // It no longer answers.
    const third = await guest(obliging);
    expect(await second.hungUp()).toBe(true);
    await channel.subscribed();
    expect(third.closed).toBe(false);
  });
});

describe('a silent guest', () => {
  it('is not waited for endlessly: the error names what was given up', async () => {
    await guest();
    const given = (what: RegExp): object => ({ kind: 'timeout', message: expect.stringMatching(what) });
    await Promise.all([
      expect(channel.exec(Buffer.alloc(1)).then(({ started }) => started)).rejects.toMatchObject(
        given(/does not answer: starting a process was given up after \d\d s/),
      ),
      expect(channel.files(1).then(({ started }) => started)).rejects.toMatchObject(given(/container's files was/)),
      expect(channel.observe().then(({ started }) => started)).rejects.toMatchObject(given(/its processes was/)),
      expect(channel.subscribed()).rejects.toMatchObject(given(/following its output was/)),
      expect(channel.freeze(1)).rejects.toMatchObject(given(/was given up after \d+ s/)),
      expect(channel.limit({ 'pids.max': '1' })).rejects.toMatchObject(given(/setting its limits was/)),
    ]);
  });

  it('is waited for as long as it answers pings, up to a limit', async () => {
    const live = await guest((self, { type, session }) => {
      if (type === Message.ping) self.say(Message.pong, session);
      if (type === Message.exec) setTimeout(() => self.started(session, 7), 12_000);
    });
    const { started } = await channel.exec(Buffer.alloc(1));
    expect(await started).toBe(7);
    live.close();
  });

  it('that does not read either: requests are refused before they take memory', async () => {
    const one = await guest(undefined, { reads: false });
    await new Promise((resolve) => setTimeout(resolve, 50));
    const refused: unknown[] = [];
    const grown = await growth(async () => {
      for (let i = 0; i < 40; i++)
        await channel
          .exec(Buffer.alloc(4 * MIB))
          .then(({ output: read, started }) => {
            started.catch(() => undefined);
            read.on('error', () => undefined);
          })
          .catch((error: unknown) => refused.push(error));
    });
    expect(refused.length).toBeGreaterThan(30);
    expect(refused[0]).toMatchObject({ kind: 'unavailable', message: 'the container VM does not read its channel' });
    expect(grown).toBeLessThan(100 * MIB);
    one.close();
  });
});
