/** Every API call that touches a guest, with guests that do not do what they should: all end within a deadline, and in bounded memory. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Message } from '../../tether/protocol/frames.js';
import type { Behaviour, HostileGuest } from '../support/hostile-guest.js';
import { type CallOptions, type HostileStack, startHostileStack } from '../support/hostile-stack.js';
import { TarBuilder } from '../support/registry/tar-builder.js';

/** What `docker wait` waits for has no end: its head is all that is asked for. */
const HEAD = { head: true };
const MIB = 1 << 20;

let stack: HostileStack;
beforeAll(async () => {
  stack = await startHostileStack();
});
afterAll(async () => {
  await stack?.close();
});

const begins = (type: number): boolean => type === Message.exec || type === Message.files || type === Message.observe;

/** Sends as fast as is taken. */
function flood(guest: HostileGuest, next: () => void): void {
  const go = (): void => {
    for (let i = 0; i < 16 && !guest.closed && guest.socket.writableLength < MIB; i++) next();
    if (!guest.closed) setTimeout(go, 20);
  };
  go();
}

const behaviours: Record<string, Behaviour> = {
  'says nothing': () => undefined,
  'says that it has started, and then nothing': (guest, { type, session }) => {
    if (begins(type)) guest.started(session);
    if (type === Message.subscribe) guest.say(Message.subscribed, session);
  },
  floods: (guest, { type, session }) => {
    if (type === Message.subscribe) guest.say(Message.subscribed, session);
    if (!begins(type) && type !== Message.subscribe) return;
    if (begins(type)) guest.started(session);
    let offset = 16n;
    const data = Buffer.alloc(32_000, 'x');
    flood(guest, () => {
      guest.output(session, data, { offset });
      offset += 32_013n;
    });
  },
  'grants without end and reads nothing': (guest, { type, session }) => {
    if (!begins(type)) return;
    guest.started(session);
    guest.socket.pause();
    const timer = setInterval(() => {
      if (guest.closed) clearInterval(timer);
      else guest.grant(session, 0xffff_ffff);
    }, 5);
  },
  lies: (guest, { type, session }) => {
    guest.exited(0, 3);
    guest.started(session);
    guest.started(session);
    if (type === Message.limit) guest.say(Message.limited, session + 1, Buffer.from('no'));
  },
  'answers for other sessions': (guest, { type, session }) => {
    if (begins(type)) guest.started(session + 1);
    guest.output(session + 7, Buffer.from('here'));
    guest.exited(session + 3);
  },
};

type Call = (id: string) => Promise<unknown>;

function calls(deadlineMs: number): Record<string, Call> {
  const at =
    (method: string, path: (id: string) => string, more: Partial<CallOptions> = {}): Call =>
    async (id) =>
      stack.call(method, path(id), { deadlineMs, most: 8 * MIB, ...more });
  const get = (path: string, more?: Partial<CallOptions>): Call => at('GET', (id) => `/containers/${id}${path}`, more);
  const post = (path: string, more?: Partial<CallOptions>): Call =>
    at('POST', (id) => `/containers/${id}${path}`, more);
  const tar = new TarBuilder().file('new', Buffer.alloc(8 * MIB)).build();
  const upgrade = { headers: { connection: 'Upgrade', upgrade: 'tcp' } };
  return {
    attach: post('/attach?stream=1&stdout=1&stdin=1', { ...HEAD, ...upgrade }),
    'attach with its log': post('/attach?stream=1&stdout=1&logs=1', { ...HEAD, ...upgrade }),
    'logs -f': get('/logs?follow=1&stdout=1', HEAD),
    exec: async (id) => {
      const created = await stack.call('POST', `/containers/${id}/exec`, { deadlineMs, body: { Cmd: ['true'] } });
      const { Id: exec } = JSON.parse(created.text) as { Id: string };
      await Promise.all([
        stack.call('POST', `/exec/${exec}/start`, { deadlineMs, body: { Detach: true } }).catch(String),
        stack.call('POST', `/exec/${exec}/resize?h=10&w=10`, { deadlineMs }),
      ]);
      return stack.call('GET', `/exec/${exec}/json`, { deadlineMs });
    },
    'exec as somebody': post('/exec', { body: { Cmd: ['true'], User: 'nobody' } }),
    resize: post('/resize?h=10&w=10'),
    top: get('/top'),
    stats: get('/stats?stream=0'),
    'cp in': at('PUT', (id) => `/containers/${id}/archive?path=/`, { body: tar }),
    'cp out': get('/archive?path=/'),
    diff: get('/changes'),
    export: get('/export'),
    commit: async (id) => {
      const read = async (): Promise<void> => {
        const layer = await stack.engine.portLayer.files.layer(id, { freeze: true });
        let bytes = 0;
        for await (const part of layer) {
          bytes += (part as Buffer).length;
          if (bytes > 8 * MIB) break;
        }
      };
      const late = sleep(deadlineMs, undefined, { ref: false }).then(() => {
        throw new Error('commit is not done in time');
      });
      return Promise.race([read().catch(() => undefined), late]);
    },
    'inspect -s': get('/json?size=1'),
    pause: post('/pause'),
    stop: post('/stop?t=1'),
    kill: post('/kill?signal=USR1'),
    'kill -9': post('/kill'),
    wait: post('/wait', HEAD),
    rename: async (id) => stack.call('POST', `/containers/${id}/rename?name=n${id.slice(0, 12)}`, { deadlineMs }),
    update: post('/update', { body: { CpuShares: 512 } }),
    restart: post('/restart?t=1'),
    'rm -f': at('DELETE', (id) => `/containers/${id}?force=1`),
  };
}

it.each(Object.keys(behaviours))(
  'a guest that %s',
  async (behaviour) => {
    const every = calls(120_000);
    const ids: string[] = [];
    for (const _ of Object.keys(every)) ids.push(await stack.run(behaviours[behaviour]!));
    const before = process.memoryUsage().rss;
    let most = 0;
    let lag = 0;
    let at = performance.now();
    const watch = setInterval(() => {
      most = Math.max(most, process.memoryUsage().rss - before);
      lag = Math.max(lag, performance.now() - at - 50);
      at = performance.now();
    }, 50);
    const late: string[] = [];
    await Promise.all(
      Object.entries(every).map(([name, call], i) =>
        call(ids[i]!).catch((error: unknown) => {
          if (/not (answered|done)/.test(String(error))) late.push(name);
        }),
      ),
    );
    clearInterval(watch);
    expect(late).toEqual([]);
    expect(most).toBeLessThan(400 * MIB);
    const gone = ids.map((id) => stack.call('DELETE', `/containers/${id}?force=1`, { deadlineMs: 60_000 }));
    await Promise.all(gone);
  },
  900_000,
);

it('silent guests keep nobody from the sizes of the others', async () => {
  const silent = await Promise.all(Array.from({ length: 6 }, () => stack.run(behaviours['says nothing']!)));
  const asked = await stack.call('GET', '/containers/json?size=1', { deadlineMs: 60_000 });
  expect(asked.status).toBe(200);
  const used = await stack.call('GET', '/system/df', { deadlineMs: 60_000 });
  expect(used.status).toBe(200);
  await Promise.all(silent.map((id) => stack.call('DELETE', `/containers/${id}?force=1`, { deadlineMs: 60_000 })));
}, 900_000);
