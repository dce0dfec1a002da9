import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isKind } from '../../../src/common/errors.js';
import { Qmp, QmpParser } from '../../../src/hostd/qemu/qmp.js';

describe('QmpParser', () => {
  it('gives whole messages, however the text is split', () => {
    const text = '{"QMP":{}}\r\n{"event":"STOP","data":{"a":"x\\ny"}}\r\n\r\n{"return":{},"id":1}\r\n';
    for (let size = 1; size <= text.length; size++) {
      const parser = new QmpParser();
      const messages = [];
      for (let at = 0; at < text.length; at += size) messages.push(...parser.push(text.slice(at, at + size)));
      expect(messages).toEqual([{ QMP: {} }, { event: 'STOP', data: { a: 'x\ny' } }, { return: {}, id: 1 }]);
    }
  });

  it.each([
    ...['nonsense\n', '3\n', 'null\n', '[]\n', '{"a":\n'],
    ...[
      '{"id":1,"error":null}\n',
      '{"id":1,"error":3}\n',
      '{"id":1,"error":{"desc":{}}}\n',
      '{"id":"1","return":{}}\n',
    ],
    ...['{"event":3}\n', '{"event":"STOP","data":null}\n', '{"event":"STOP","data":[]}\n', '{"event":null,"id":1}\n'],
  ])('refuses %j', (text) => {
    expect(() => new QmpParser().push(text)).toThrow('damaged');
  });

  it('refuses an endless line', () => {
    const parser = new QmpParser();
    const chunk = 'x'.repeat(1 << 20);
    expect(() => {
      for (let i = 0; i < 17; i++) parser.push(chunk);
    }).toThrow('too long');
  });

  it('scans a long line once, however many pieces it comes in', () => {
    const parser = new QmpParser();
    const text = `{"id":1,"return":"${'x'.repeat(2_000_000)}"}\n`;
    const messages = [...text].flatMap((piece) => parser.push(piece));
    expect(messages).toEqual([{ id: 1, return: 'x'.repeat(2_000_000) }]);
  });
});

describe('Qmp', () => {
  let directory: string;
  let path: string;
  let server: Server;
  let peer: Promise<Socket>;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'caisson-qmp-'));
    path = join(directory, 'qmp');
    server = createServer();
    peer = new Promise((resolve) => server.once('connection', resolve));
    await new Promise<void>((resolve) => server.listen(path, resolve));
  });
  afterEach(async () => {
    (await Promise.race([peer, Promise.resolve(null)]))?.destroy();
    await new Promise((resolve) => server.close(resolve));
    await rm(directory, { recursive: true });
  });

  /** A monitor that greets, takes capabilities, and answers other commands by `answer`. */
  async function monitor(answer: (command: { execute: string; id: number }, socket: Socket) => void): Promise<Qmp> {
    void peer.then((socket) => {
      socket.write('{"QMP":{}}\n');
      socket.on('error', () => undefined);
      socket.on('data', (data) => {
        for (const line of data.toString().trim().split('\n')) {
          const command = JSON.parse(line) as { execute: string; id: number };
          if (command.execute === 'qmp_capabilities') socket.write(`{"return":{},"id":${command.id}}\n`);
          else answer(command, socket);
        }
      });
    });
    return Qmp.connect(path, () => true, 2000);
  }

  it('matches replies with their commands, even out of order, and gives events', async () => {
    const seen: number[] = [];
    const qmp = await monitor(({ id }, socket) => {
      seen.push(id);
      if (seen.length < 2) return;
      socket.write('{"event":"SHUTDOWN","data":{"reason":"guest-shutdown"}}\n');
      for (const one of seen.reverse()) socket.write(`{"return":${one},"id":${one}}\n`);
    });
    const events: unknown[] = [];
    qmp.on('event', (...event) => events.push(event));
    const [first, second] = await Promise.all([qmp.command('a'), qmp.command('b')]);
    expect(Number(second)).toBe(Number(first) + 1);
    expect(events).toEqual([['SHUTDOWN', { reason: 'guest-shutdown' }]]);
    qmp.release();
  });

  it('reads only a little of a QEMU that talks endlessly', async () => {
    let taken = 0;
    const qmp = await monitor((_command, socket) => {
      const line = `{"event":"TALK","data":{"a":"${'x'.repeat(1 << 20)}"}}\n`;
      const talk = (): void => void socket.write(line, (error) => (error ? undefined : talk()));
      talk();
    });
    qmp.on('event', () => taken++);
    void qmp.command('a').catch(() => undefined);
    await expect.poll(() => taken, { timeout: 20_000 }).toBeGreaterThan(25);
    const before = taken;
    const since = performance.now();
    await sleep(1000);
    // One a second, and what was already on its way.
    expect(taken - before).toBeLessThan(12 + (performance.now() - since) / 1000);
    qmp.release();
  });

  it('passes on QEMU’s error messages', async () => {
    const qmp = await monitor(({ id }, socket) => {
      socket.write(`{"error":{"class":"GenericError","desc":"no such device"},"id":${id}}\n`);
    });
    await expect(qmp.command('device_del')).rejects.toThrow('QEMU: no such device');
    qmp.release();
  });

  it.each([
    ['ends', (socket: Socket) => socket.destroy()],
    ['talks nonsense', (socket: Socket) => socket.write('Segmentation fault\n')],
  ])('closes when QEMU %s, and open commands fail', async (_name, act) => {
    const qmp = await monitor((_command, socket) => void act(socket));
    const closed = new Promise<void>((resolve) => qmp.once('close', resolve));
    await expect(qmp.command('quit')).rejects.toThrow('QEMU has ended');
    await closed;
    await expect(qmp.command('quit')).rejects.toThrow('QEMU has ended');
  });

  it('does not wait forever for a greeting', async () => {
    await expect(Qmp.connect(path, () => true, 100)).rejects.toSatisfy((error) => isKind(error, 'timeout'));
  });

  it('does not wait for a monitor whose QEMU has ended', async () => {
    await expect(Qmp.connect(join(directory, 'none'), () => false, 10_000)).rejects.toThrow('QEMU has ended');
  });
});
