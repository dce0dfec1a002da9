/** Fan-out of output: who sets the pace, and how a slow reader gets what it missed. */
import { describe, expect, it } from 'vitest';
import type { OutputChunk } from '../../../port-layer/index.js';
import { SessionStreams } from '../../../port-layer/interaction/session-streams.js';

const chunk = (offset: number): OutputChunk => ({ stream: 'stdout', timeNs: 0n, data: Buffer.alloc(10), offset });
const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

/** A guest with a window, and a log of everything that it sent. */
class Guest {
  granted = 0;
  readonly log: OutputChunk[] = [];
  readonly streams = new SessionStreams(
    (bytes) => {
      this.granted += bytes;
    },
    () => undefined,
  );

  send(count: number): void {
    for (let i = 0; i < count; i++) {
      const next = chunk(this.log.length);
      this.log.push(next);
      this.streams.push(next);
    }
  }

  readonly replay = async function* (this: Guest, after: number): AsyncGenerator<OutputChunk> {
    for (const one of [...this.log]) if (one.offset > after) yield one;
  }.bind(this);
}

async function offsets(output: AsyncIterable<unknown>, slow = false): Promise<number[]> {
  const all: number[] = [];
  for await (const one of output) {
    all.push((one as OutputChunk).offset);
    if (slow && all.length % 50 === 0) await tick();
  }
  return all;
}

const counted = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe('readers', () => {
  it('that are alone make the process wait', async () => {
    const guest = new Guest();
    const reader = guest.streams.attach({ paces: true, replay: guest.replay });
    guest.send(100);
    expect(guest.granted).toBeLessThanOrEqual(640);
    const read = offsets(reader);
    await expect.poll(() => guest.granted).toBe(1000);
    guest.streams.end();
    expect(await read).toEqual(counted(100));
  });

  it('that are slow do not hold up others, and miss nothing', async () => {
    const guest = new Guest();
    const slow = guest.streams.attach({ paces: true, replay: guest.replay });
    const fast = offsets(guest.streams.attach({ paces: true, replay: guest.replay }));
    for (let i = 0; i < 100; i++) {
      guest.send(20);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(guest.granted).toBe(20_000);
    expect(slow.readableLength).toBeLessThan(70);
    const late = offsets(slow, true);
    for (let i = 0; i < 10; i++) {
      guest.send(20);
      await tick();
    }
    guest.streams.end();
    expect(await fast).toEqual(counted(2200));
    expect(await late).toEqual(counted(2200));
  });

  it('that are behind when the process ends get the rest', async () => {
    const guest = new Guest();
    const slow = guest.streams.attach({ paces: false, replay: guest.replay });
    guest.send(500);
    guest.streams.end();
    expect(await offsets(slow, true)).toEqual(counted(500));
  });

  it('of the log alone never make it wait', () => {
    const guest = new Guest();
    guest.streams.attach({ paces: false, replay: guest.replay });
    guest.send(500);
    expect(guest.granted).toBe(5000);
  });

  it('that cannot replay make it wait, whoever else reads', async () => {
    const guest = new Guest();
    const stuck = guest.streams.attach({ paces: true });
    void offsets(guest.streams.attach({ paces: true, replay: guest.replay }));
    guest.send(100);
    await tick();
    expect(guest.granted).toBeLessThanOrEqual(640);
    stuck.destroy();
    await tick();
    expect(guest.granted).toBe(1000);
    guest.streams.end();
  });

  it('of output that is no longer stored end', async () => {
    const guest = new Guest();
    const reader = guest.streams.attach({ paces: false, replay: async function* () {} });
    guest.send(200);
    expect(await offsets(reader)).toEqual(counted(64));
  });
});
