/**
 * Every API call that waits for a guest, with misbehaving guests: all end within a deadline, in bounded memory, and a
 * container beside them is served. The timeouts for guests are shortened here; `channel-flow.test.ts` tests the real
 * ones.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { dockerRouter } from '../../appliance/docker/routes.js';
import { Message } from '../../tether/protocol/frames.js';
import { loud, quiet } from '../support/hostile-behaviours.js';
import type { Behaviour } from '../support/hostile-guest.js';
import { type CallOptions, type HostileStack, startHostileStack } from '../support/hostile-stack.js';
import { TarBuilder } from '../support/registry/tar-builder.js';

const FIRST_PROCESS = vi.hoisted(() => ({ mostMs: 120_000 }));
vi.mock('../../port-layer/interaction/patience.js', async (original) => {
  const short = { silenceMs: 3000, mostMs: 6000 };
  const look = { silenceMs: 2000, quietMs: 4000, mostMs: 8000 };
  const { fromGuest, brokeProtocol } = await original<typeof import('../../port-layer/interaction/patience.js')>();
  return {
    fromGuest,
    brokeProtocol,
    START: short,
    ANSWER: short,
    OBSERVATION: short,
    FILE_RECORD: short,
    FILE_FREEZE: short,
    VOLUME_FREEZE: short,
    FIRST_PROCESS,
    SIZE: look,
    CHANGES: look,
  };
});

/** `docker wait` never ends here: only its head is requested. */
const HEAD = { head: true };
const MIB = 1 << 20;
/** Far more than any call takes: a machine may be busy. */
const DEADLINE_MS = 240_000;
const AT_ONCE = 8;

let stack: HostileStack;
beforeAll(async () => {
  stack = await startHostileStack();
  const options = { body: { Name: 'joined' }, deadlineMs: DEADLINE_MS };
  expect((await stack.call('POST', '/networks/create', options)).status).toBe(201);
});
afterAll(async () => {
  await stack?.close();
});

const tar = new TarBuilder().file('new', Buffer.alloc(8 * MIB)).build();
const upgrade = (to: string): Partial<CallOptions> => ({
  headers: {
    connection: 'Upgrade',
    upgrade: to,
    'sec-websocket-version': '13',
    'sec-websocket-key': Buffer.alloc(16).toString('base64'),
  },
});

/** Calls made to one container at the same time; to another one where they end it. */
type Container =
  | 'streams'
  | 'files'
  | 'network'
  | 'processes'
  | 'pause'
  | 'volume'
  | 'stop'
  | 'kill'
  | 'restart'
  | 'remove'
  | 'start';

interface Call {
  route: string;
  of: Container;
  make(id: string): Promise<unknown>;
}

const ask = (route: string, id: string, query = '', more: Partial<CallOptions> = {}): Promise<{ text: string }> => {
  const [method = '', path = ''] = route.split(' ');
  return stack.call(method, path.replace(':id', id) + query, { deadlineMs: DEADLINE_MS, most: 8 * MIB, ...more });
};
const call = (of: Container, route: string, query = '', more: Partial<CallOptions> = {}): Call => ({
  route,
  of,
  make: (id) => ask(route, id, query, more),
});

/** Creates an exec, and does something with it. */
const ofExec = (route: string, query: string, more: Partial<CallOptions>): Call => ({
  route,
  of: 'processes',
  async make(id) {
    const { text } = await ask('POST /containers/:id/exec', id, '', { body: { Cmd: ['true'], AttachStdout: true } });
    const { Id: exec } = JSON.parse(text) as { Id: string };
    const start = route.endsWith('/start') ? null : ask('POST /exec/:id/start', exec, '', { body: { Detach: true } });
    await Promise.all([start?.catch(String), ask(route, exec, query, more)]);
  },
});

const ofNetwork = (what: 'connect' | 'disconnect'): Call => ({
  route: `POST /networks/*id/${what}`,
  of: 'network',
  make: (id) =>
    stack.call('POST', `/networks/joined/${what}`, { body: { Container: id }, most: MIB, deadlineMs: DEADLINE_MS }),
});

/** Volumes of containers that have one, by container: what is done with them freezes their filesystem in the guest. */
const volumes = new Map<string, string>();
const ofVolume = (method: string, what: string, body?: object): Call => ({
  route: `${method} /caisson/volumes/:name/${what.replace(/\?.*/, '')}`,
  of: 'volume',
  make: (id) =>
    ask(`${method} /caisson/volumes/${volumes.get(id)}/${what}`, id, '', body === undefined ? {} : { body }),
});

const calls: Record<string, Call> = {
  attach: call('streams', 'POST /containers/:id/attach', '?stream=1&stdout=1&stdin=1', { ...HEAD, ...upgrade('tcp') }),
  'attach with its log': call('streams', 'POST /containers/:id/attach', '?stream=1&stdout=1&logs=1', {
    ...HEAD,
    ...upgrade('tcp'),
  }),
  'attach by a WebSocket': call('streams', 'GET /containers/:id/attach/ws', '?logs=1', {
    ...HEAD,
    ...upgrade('websocket'),
  }),
  logs: call('streams', 'GET /containers/:id/logs', '?stdout=1'),
  'logs -f': call('streams', 'GET /containers/:id/logs', '?follow=1&stdout=1', HEAD),
  resize: call('streams', 'POST /containers/:id/resize', '?h=10&w=10'),
  kill: call('streams', 'POST /containers/:id/kill', '?signal=USR1'),
  wait: call('streams', 'POST /containers/:id/wait', '', HEAD),
  exec: ofExec('POST /exec/:id/start', '', { body: { Detach: false }, most: MIB, ...HEAD, ...upgrade('tcp') }),
  'exec -d': ofExec('POST /exec/:id/start', '', { body: { Detach: true } }),
  'exec, and its size': ofExec('POST /exec/:id/resize', '?h=10&w=10', {}),
  'exec, and what became of it': ofExec('GET /exec/:id/json', '', {}),
  'exec as somebody': call('processes', 'POST /containers/:id/exec', '', { body: { Cmd: ['true'], User: 'nobody' } }),
  top: call('processes', 'GET /containers/:id/top'),
  stats: call('processes', 'GET /containers/:id/stats', '?stream=0'),
  update: call('processes', 'POST /containers/:id/update', '', { body: { CpuShares: 512 } }),
  rename: {
    route: 'POST /containers/:id/rename',
    of: 'processes',
    make: (id) => ask('POST /containers/:id/rename', id, `?name=n${id.slice(0, 12)}`),
  },
  'cp in': call('files', 'PUT /containers/:id/archive', '?path=/', { body: tar }),
  'cp out': call('files', 'GET /containers/:id/archive', '?path=/a/b'),
  'the stat of cp': call('files', 'HEAD /containers/:id/archive', '?path=/a/b'),
  diff: call('files', 'GET /containers/:id/changes'),
  export: call('files', 'GET /containers/:id/export'),
  commit: {
    route: 'POST /commit',
    of: 'files',
    make: (id) => ask('POST /commit', id, `?container=${id}`, { body: {} }),
  },
  'inspect -s': call('files', 'GET /containers/:id/json', '?size=1'),
  pause: {
    route: 'POST /containers/:id/pause',
    of: 'pause',
    async make(id) {
      await ask('POST /containers/:id/pause', id);
      await Promise.all([ask('GET /containers/:id/top', id), ask('GET /containers/:id/changes', id)]);
      await ask('POST /containers/:id/unpause', id);
    },
  },
  'volume snapshot': ofVolume('POST', 'snapshots', { Name: 'first' }),
  'volume clone': ofVolume('POST', 'clone', { Name: `clone-${randomUUID()}` }),
  'volume export': ofVolume('GET', 'export?format=tar'),
  backup: {
    route: 'POST /caisson/backup/read',
    of: 'volume',
    make: (id) =>
      ask('POST /caisson/backup/read', id, '', { body: { Volumes: [{ Name: volumes.get(id) }], Containers: [id] } }),
  },
  unpause: call('pause', 'POST /containers/:id/unpause'),
  'network connect': ofNetwork('connect'),
  'network disconnect': ofNetwork('disconnect'),
  stop: call('stop', 'POST /containers/:id/stop', '?t=1'),
  'kill -9': call('kill', 'POST /containers/:id/kill'),
  restart: call('restart', 'POST /containers/:id/restart', '?t=1'),
  'rm -f': call('remove', 'DELETE /containers/:id', '?force=1'),
  start: call('start', 'POST /containers/:id/start'),
};

/** Calls about all containers together. */
const ofAll: Record<string, Call> = {
  'ps -s': call('files', 'GET /containers/json', '?size=1'),
  'system df': call('files', 'GET /system/df'),
};

/** Routes that request nothing from a guest. */
const NO_GUEST = `
GET /_ping; HEAD /_ping; GET /version; GET /info; GET /events; POST /auth
GET /networks; GET /networks/; GET /networks/*id; POST /networks/prune; POST /networks/create; DELETE /networks/*id
GET /caisson/policy; GET /caisson/policy/counters; POST /caisson/policy/reload; PUT /caisson/policy/:tier
POST /caisson/policy/:tier/check; POST /caisson/trace; GET /caisson/network/usage
GET /caisson/volumes; GET /caisson/volumes/:name; DELETE /caisson/volumes/:name/snapshots/:snapshot
POST /caisson/volumes/:name/snapshots/:snapshot/revert
POST /caisson/volumes/:name/grow; POST /caisson/volumes/:name/import; PUT /caisson/backup/containers/:id/changes
POST /containers/create; POST /containers/prune; DELETE /containers/:id/:alias
GET /containers/:id/checkpoints; POST /containers/:id/checkpoints; DELETE /containers/:id/checkpoints/:checkpoint
POST /volumes/create; GET /volumes; GET /volumes/:name; DELETE /volumes/:name; PUT /volumes/:name; POST /volumes/prune
`;
/** Neither do those about images, and about features that this engine lacks. */
const NO_GUEST_BELOW =
  /^[A-Z]+ \/(images|build|plugins|distribution|swarm|nodes|services|tasks|secrets|configs|session|grpc)(\/|$)/;

it('no route is left out here', () => {
  const { stack: layers } = dockerRouter(stack.engine) as unknown as {
    stack: { route?: { path: string; methods: Record<string, boolean> } }[];
  };
  const routes = layers.flatMap(({ route }) =>
    route === undefined ? [] : Object.keys(route.methods).map((method) => `${method.toUpperCase()} ${route.path}`),
  );
  const without = NO_GUEST.split(/[;\n]/).map((line) => line.trim());
  const tried = new Set(Object.values({ ...calls, ...ofAll }).map(({ route }) => route));
  const known = (route: string): boolean => tried.has(route) || without.includes(route) || NO_GUEST_BELOW.test(route);
  expect(routes.length).toBeGreaterThan(80);
  expect(routes.filter((route) => !known(route))).toEqual([]);
  // And no listed route is missing from the router.
  expect([...tried, ...without].filter((route) => route !== '' && !routes.includes(route))).toEqual([]);
});

/** Runs it for each, but not for too many at once. */
async function forEach<T>(all: readonly T[], atOnce: number, body: (one: T) => Promise<unknown>): Promise<void> {
  const rest = [...all];
  const work = async (): Promise<void> => {
    for (let one = rest.shift(); one !== undefined; one = rest.shift()) await body(one);
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

const serves: Behaviour = (guest, { type, session }) => {
  if (type === Message.ping) guest.say(Message.pong, session);
  if (type !== Message.exec) return;
  guest.started(session, 7);
  guest.exited(session, 3);
};

it.each([
  ['wait for them, or do not understand them', quiet],
  ['are drowned', loud],
])(
  'all calls end even if they %s',
  async (_how, behaviours) => {
    const containers = new Map<string, string>();
    const wanted = Object.keys(behaviours).flatMap((behaviour) =>
      [...new Set(Object.values(calls).map(({ of }) => of))].map((of) => ({ behaviour, of })),
    );
    await forEach(wanted, AT_ONCE, async ({ behaviour, of }) => {
      const does = behaviours[behaviour]!;
      const volume = `volume-${randomUUID()}`;
      const config = of === 'volume' ? { HostConfig: { Binds: [`${volume}:/volume`] } } : {};
      const id = await (of === 'start' ? stack.create(does, false) : stack.run(does, config));
      if (of === 'volume') volumes.set(id, volume);
      containers.set(`${behaviour} ${of}`, id);
    });
    const good = await stack.run(serves);
    const before = process.memoryUsage().rss;
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, process.memoryUsage().rss - before);
    }, 50);
    const late: string[] = [];
    FIRST_PROCESS.mostMs = 4000;
    const make = async (name: string, { of, make: does }: Call, behaviour: string): Promise<void> => {
      await does(containers.get(`${behaviour} ${of}`)!).catch((error: unknown) => {
        if (/is not answered/.test(String(error))) late.push(`${name} of one that ${behaviour}: ${String(error)}`);
      });
    };
    const all = Object.keys(behaviours).flatMap((behaviour) =>
      Object.entries(calls).map(([name, one]) => make(name, one, behaviour)),
    );
    for (const [name, one] of Object.entries(ofAll)) all.push(make(name, one, Object.keys(behaviours)[0]!));
    const served = async (): Promise<unknown> => {
      const { text } = await ask('POST /containers/:id/exec', good, '', { body: { Cmd: ['true'] } });
      const { Id: exec } = JSON.parse(text) as { Id: string };
      await ask('POST /exec/:id/start', exec, '', { body: { Detach: false } });
      return JSON.parse((await ask('GET /exec/:id/json', exec)).text);
    };
    // On a busy machine it takes longer than this waits.
    await expect.poll(served, { timeout: DEADLINE_MS }).toMatchObject({ ExitCode: 3, Running: false });
    await Promise.all(all);
    FIRST_PROCESS.mostMs = 120_000;
    clearInterval(watch);
    expect(late).toEqual([]);
    expect(most).toBeLessThan(500 * MIB);
    await forEach([...containers.values(), good], AT_ONCE, (id) => ask('DELETE /containers/:id', id, '?force=1'));
    expect(JSON.parse((await stack.call('GET', '/containers/json?all=1', { deadlineMs: DEADLINE_MS })).text)).toEqual(
      [],
    );
  },
  900_000,
);

it('silent guests do not block the sizes of the others, and are removed without their cooperation', async () => {
  let signals = 0;
  const silent = await Promise.all(
    Array.from({ length: 6 }, () =>
      stack.run((_guest, { type, session }) => {
        if (type === Message.signal && session === 0) signals++;
      }),
    ),
  );
  const asked = await stack.call('GET', '/containers/json?size=1', { deadlineMs: DEADLINE_MS });
  expect(asked.status).toBe(200);
  await Promise.all(silent.map((id) => ask('DELETE /containers/:id', id, '?force=1')));
  expect(signals).toBe(0);
}, 900_000);

it('a probe that floods and never ends, even when killed, makes its container unhealthy', async () => {
  const Healthcheck = { Test: ['CMD', 'true'], Interval: 50e6, Timeout: 200e6, Retries: 1 };
  const id = await stack.run(loud.floods!, { Healthcheck });
  const health = async (): Promise<{ Status: string; Log: { Output: string }[] }> =>
    (JSON.parse((await ask('GET /containers/:id/json', id)).text) as { State: { Health: never } }).State.Health;
  await expect.poll(async () => (await health()).Status, { timeout: DEADLINE_MS, interval: 200 }).toBe('unhealthy');
  expect(Math.max(...(await health()).Log.map(({ Output }) => Output.length))).toBeLessThan(5000);
}, 900_000);
