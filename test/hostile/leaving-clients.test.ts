/** Clients that leave while being answered: neither a connection, of which there are few, nor a reader remains. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Message } from '../../tether/protocol/frames.js';
import { type HostileStack, startHostileStack } from '../support/hostile-stack.js';

let stack: HostileStack;
/** A guest with one silent process; helpers start, and are silent too. */
let id: string;
beforeAll(async () => {
  stack = await startHostileStack();
  id = await stack.run((guest, { type, session }) => {
    if (type === Message.subscribe) guest.say(Message.subscribed, session);
    if ([Message.exec, Message.files, Message.observe].includes(type as never)) guest.started(session);
  });
});
afterAll(async () => {
  await stack?.close();
});

const requests: [method: string, path: string][] = [
  ['GET', '/events'],
  ['GET', '/containers/ID/logs?follow=1&stdout=1'],
  ['GET', '/containers/ID/stats'],
  ['GET', '/containers/ID/stats?stream=0'],
  ['GET', '/containers/ID/top'],
  ['POST', '/containers/ID/wait'],
  ['GET', '/containers/ID/archive?path=/bin'],
  ['HEAD', '/containers/ID/archive?path=/bin'],
  ['GET', '/containers/ID/export'],
];

/** How long a client that has closed its side waits for the server to close; null: forever. */
async function endAfter(method: string, path: string, ms: number): Promise<number | null> {
  const socket = connect({ host: '127.0.0.1', port: stack.port, allowHalfOpen: true });
  socket.on('error', () => undefined).resume();
  socket.write(`${method} ${path.replace('ID', id)} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  // Before or during the work for it.
  if (ms > 0) await sleep(ms);
  socket.end();
  const since = performance.now();
  const ended = await Promise.race([
    once(socket, 'end').then(() => true),
    once(socket, 'close').then(() => true),
    sleep(5000, false, { ref: false }),
  ]);
  socket.destroy();
  return ended ? performance.now() - since : null;
}

it.each(requests)(
  '%s %s ends when its client is gone',
  async (method, path) => {
    const ends = await Promise.all([0, 20, 400].map((ms) => endAfter(method, path, ms)));
    expect(ends.filter((end) => end === null)).toEqual([]);
  },
  30_000,
);
