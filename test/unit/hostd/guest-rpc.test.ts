import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeGuestRpc, GuestRpcAnswers, GuestRpcServer, takeGuestRpc } from '../../../src/hostd/qemu/guest-rpc.js';
import type { VmHooks } from '../../../src/hostd/runtime.js';

const values = new Map<string, string>();
const hooks: VmHooks = {
  infoGet: (key) => (key === 'guestinfo.long' ? 'x'.repeat(8 << 20) : values.get(key)),
  infoSet(key, value) {
    if (key === 'guestinfo.forbidden') throw new Error('the guest may not set it');
    values.set(key, value);
  },
  stalled: () => undefined,
  exited: () => undefined,
};
beforeEach(() => values.clear());

describe('frames', () => {
  it('are found however they are split', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: 'grapheme', maxLength: 30 })),
        fc.integer({ min: 1, max: 50 }),
        (texts, size) => {
          const bytes = Buffer.concat(texts.map(encodeGuestRpc));
          const found: string[] = [];
          let rest = Buffer.alloc(0);
          for (let at = 0; at < bytes.length; at += size) {
            const taken = takeGuestRpc(Buffer.concat([rest, bytes.subarray(at, at + size)]));
            found.push(...taken!.requests);
            rest = Buffer.from(taken!.rest);
          }
          expect(found).toEqual(texts);
          expect(rest).toHaveLength(0);
        },
      ),
    );
  });

  it('that are too long are refused as soon as their length is read', () => {
    expect(takeGuestRpc(Buffer.from([1, 0, 1, 0]))).toBeNull();
    expect(takeGuestRpc(Buffer.from([0, 0, 1, 0]))).not.toBeNull();
    expect(takeGuestRpc(Buffer.from([0xff, 0xff, 0xff, 0xff]))).toBeNull();
  });
});

describe('answers', () => {
  const answers = new GuestRpcAnswers(hooks);

  it('get and set keys', () => {
    expect(answers.answer('info-get guestinfo.a')).toBe('R0 No value found');
    expect(answers.answer('info-set guestinfo.a one two\nthree')).toBe('R1 ');
    expect(answers.answer('info-get guestinfo.a')).toBe('R1 one two\nthree');
    expect(answers.answer('info-set guestinfo.a ')).toBe('R1 ');
    expect(values.get('guestinfo.a')).toBe('');
  });

  it.each([
    ['', 'Unknown command'],
    ['info-get', 'Unknown command'],
    ['info-get a b', 'Unknown command'],
    ['rm -rf /', 'Unknown command'],
    ['info-set guestinfo.x"="y v', 'Invalid key'],
    ['info-get \u0001', 'Invalid key'],
    [`info-get ${'k'.repeat(200)}`, 'Invalid key'],
    ['info-set guestinfo.forbidden v', 'the guest may not set it'],
    ['info-get guestinfo.long', 'The value is too long'],
  ])('refuses %j', (request, message) => {
    expect(answers.answer(request)).toBe(`R0 ${message}`);
  });

  it('keep only characters that XML can carry', () => {
    answers.answer('info-set guestinfo.a x\0\u001b[1my\tz\uffff\u{1f600}');
    expect(values.get('guestinfo.a')).toBe('x\ufffd\ufffd[1my\tz\ufffd\u{1f600}');
  });

  it('let one guest set only a limited number of keys', () => {
    const flooding = new GuestRpcAnswers(hooks);
    const replies = Array.from({ length: 100 }, (_, i) => flooding.answer(`info-set guestinfo.k${i} v`));
    expect(replies.filter((reply) => reply === 'R1 ')).toHaveLength(32);
    expect(flooding.answer('info-set guestinfo.k0 again')).toBe('R1 ');
  });
});

describe('the server', () => {
  let directory: string;
  let path: string;
  let guest: Server;
  let rpc: GuestRpcServer | null = null;
  const connections: Socket[] = [];
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'caisson-rpc-'));
    path = join(directory, 'rpc');
    guest = createServer((socket) => {
      connections.push(socket);
      socket.on('error', () => undefined);
    });
    guest.listen(path);
    await once(guest, 'listening');
  });
  afterEach(async () => {
    rpc?.close();
    for (const socket of connections.splice(0)) socket.destroy();
    await new Promise((resolve) => guest.close(resolve));
    await rm(directory, { recursive: true });
  });

  it('answers in order, and reconnects after an oversized frame', async () => {
    rpc = new GuestRpcServer(path, hooks);
    const [first] = (await once(guest, 'connection')) as [Socket];
    first.write(Buffer.concat([encodeGuestRpc('info-set guestinfo.a 1'), encodeGuestRpc('info-get guestinfo.a')]));
    let bytes = Buffer.alloc(0);
    while (bytes.length < 4 + 3 + 4 + 4) bytes = Buffer.concat([bytes, ((await once(first, 'data')) as [Buffer])[0]]);
    expect(takeGuestRpc(bytes)!.requests).toEqual(['R1 ', 'R1 1']);
    first.write(Buffer.from([0xff, 0xff, 0xff, 0x7f]));
    const [second] = (await once(guest, 'connection')) as [Socket];
    second.write(encodeGuestRpc('info-get guestinfo.a'));
    const [reply] = (await once(second, 'data')) as [Buffer];
    expect(takeGuestRpc(reply)!.requests).toEqual(['R1 1']);
  });

  it('sends a command that was queued before the port was connected', async () => {
    const late = join(directory, 'late');
    rpc = new GuestRpcServer(late, hooks);
    rpc.command('OS_Halt');
    rpc.command('OS_Halt');
    await sleep(20);
    const other = createServer();
    other.listen(late);
    const [socket] = (await once(other, 'connection')) as [Socket];
    const [command] = (await once(socket, 'data')) as [Buffer];
    expect(takeGuestRpc(command)!.requests).toEqual(['COS_Halt']);
    rpc.close();
    socket.destroy();
    await new Promise((resolve) => other.close(resolve));
  });

  it('slows a flood down', async () => {
    let asked = 0;
    const begun = performance.now();
    rpc = new GuestRpcServer(path, {
      ...hooks,
      infoGet: () => {
        asked++;
        return 'v';
      },
    });
    const [socket] = (await once(guest, 'connection')) as [Socket];
    socket.resume();
    const flood = Buffer.concat(Array.from({ length: 2000 }, () => encodeGuestRpc('info-get guestinfo.a')));
    socket.write(flood);
    await expect.poll(() => asked).toBeGreaterThanOrEqual(200);
    await sleep(500);
    // A burst at once, then a few a second.
    expect(asked).toBeLessThanOrEqual(200 + Math.ceil(((performance.now() - begun) / 1000) * 5));
  });

  it('stops serving a guest that reads no replies', async () => {
    let asked = 0;
    rpc = new GuestRpcServer(path, {
      ...hooks,
      infoGet: () => {
        asked++;
        return 'v'.repeat(200_000);
      },
    });
    const [socket] = (await once(guest, 'connection')) as [Socket];
    socket.pause();
    socket.write(Buffer.concat(Array.from({ length: 150 }, () => encodeGuestRpc('info-get guestinfo.a'))));
    await expect.poll(() => asked).toBeGreaterThan(0);
    await sleep(300);
    expect(asked).toBeLessThan(20);
  });
});
