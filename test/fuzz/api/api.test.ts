/**
 * 10,000 malformed requests to every route of a real endpoint: each is answered in time, with a 4xx (or as Docker does
 * there) and a message in JSON; no stack, no hang, no leak.
 *
 *   FUZZ_API_FROM    number of the first case (default 0); with FUZZ_API_COUNT=1, repeats a failed one
 *   FUZZ_API_COUNT   how many (default 10,000)
 */
import { readdirSync, readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { dockerRouter } from '../../../appliance/docker/routes.js';
import { messageOf } from '../../../src/common/errors.js';
import { startTestEngine } from '../../support/docker-engine.js';
import { type MirroredStack, startMirroredStack } from '../../support/mirrored-stack.js';
import { type FuzzCase, type FuzzRoute, fuzzCase } from './generator.js';

const FROM = Number(process.env.FUZZ_API_FROM ?? 0);
const COUNT = Number(process.env.FUZZ_API_COUNT ?? 10_000);
/** No case is begun after this time: a slow machine runs fewer. */
const BUDGET_MS = 50_000;
const AT_ONCE = 8;
/** The longest that an answer's head may take. */
const ANSWER_MS = 8_000;
/** Long-lived streams are abandoned after this time. */
const STREAM_MS = 40;
const MAX_GROWTH_KIB = 200 * 1024;
/** Where Docker Engine also answers 5xx, with a reason: a missing or wrong mirror or registry, a container not paused. */
const DOCKERS_OWN_5XX =
  /is not paused|not a swarm manager|swarm is unavailable|experimental|connection refused|lookup |no such host|tls: |EOF|^\{"message":"invalid (volume specification|mode): /;

let stack: MirroredStack;
let routes: FuzzRoute[];
const ids: string[] = [];

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  await stack.docker('pull', '-q', 'busybox');
  for (const name of ['fuzz-target', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_'])
    ids.push((await stack.docker('create', '--name', name, 'busybox', 'true')).stdout.trim());
  ids.push('fuzz-target', '/fuzz-target', ids[0]!.slice(0, 12));
  const engine = await startTestEngine();
  routes = routesOf(dockerRouter(engine.engine));
  await engine.close();
});

afterAll(() => stack?.stop());

/** Every route of the router, so that none is forgotten. */
function routesOf(router: ReturnType<typeof dockerRouter>): FuzzRoute[] {
  return router.stack.flatMap(({ route }) =>
    route === undefined
      ? []
      : [...new Set(route.stack.map(({ method }) => method.toUpperCase()))].map((method) => ({
          method,
          path: String(route.path),
        })),
  );
}

interface Answer {
  status: number;
  type: string;
  text: string;
  /** The stream continued. */
  cut: boolean;
}

const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE * 2 });

function send(one: FuzzCase): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      sent.destroy();
      reject(new Error(`no answer within ${ANSWER_MS} ms`));
    }, ANSWER_MS);
    const upgrading = one.headers.connection !== undefined;
    const sent = request(
      {
        host: '127.0.0.1',
        port: stack.port,
        method: one.method,
        path: one.path,
        // A redirection repeats the request's path.
        maxHeaderSize: 2 ** 21,
        headers: {
          ...one.headers,
          ...(one.body === undefined || one.headers['transfer-encoding'] !== undefined
            ? {}
            : { 'content-length': one.body.length }),
        },
        agent: upgrading ? false : agent,
      },
      (response) => {
        clearTimeout(timer);
        const parts: Buffer[] = [];
        const end = (cut: boolean): void => {
          clearTimeout(leave);
          const text = Buffer.concat(parts).toString();
          resolve({
            status: response.statusCode ?? 0,
            type: String(response.headers['content-type'] ?? ''),
            text,
            cut,
          });
        };
        const leave = setTimeout(
          () => {
            end(true);
            sent.destroy();
          },
          response.statusCode === 200 ? STREAM_MS : ANSWER_MS,
        );
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () => end(false));
        response.on('error', () => end(true));
      },
    );
    sent.on('upgrade', (response, socket) => {
      clearTimeout(timer);
      socket.on('error', () => undefined);
      socket.destroy();
      resolve({ status: response.statusCode ?? 0, type: '', text: '', cut: true });
    });
    sent.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    sent.end(one.body);
  });
}

/** The problem with an answer, or null. */
function problemOf(one: FuzzCase, { status, type, text, cut }: Answer): string | null {
  if (/\n\s+at .*:\d+:\d+/.test(text)) return 'a stack';
  if (status < 400) return null;
  if (status >= 500 && status !== 501 && !DOCKERS_OWN_5XX.test(text)) return `status ${status}`;
  if (cut || one.method === 'HEAD') return null;
  // Raw streams and clients from before JSON errors get plain text; the server itself answers what is not HTTP.
  if (type.startsWith('application/vnd.docker') || type.startsWith('text/plain') || status === 431) return null;
  if (type === '' && text === '' && status === 400) return null;
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    return typeof message === 'string' && message !== '' ? null : 'no message';
  } catch {
    return `no JSON (${type})`;
  }
}

/** The endpoint's process: the one started with a file of this stack. */
function endpointPid(): number {
  const found = readdirSync('/proc').find((pid) => {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
      const given = environment.find((one) => one.startsWith('CAISSON_GUESTINFO=')) ?? '';
      return given.includes(stack.paths.runDir) || given.includes(stack.paths.stateDir);
    } catch {
      return false;
    }
  });
  if (found === undefined) throw new Error('the endpoint was not found');
  return Number(found);
}

const memoryKiB = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

it('every route survives nonsense', async () => {
  const pid = endpointPid();
  // Code loaded and compiled at first does not count as growth.
  for (let number = 0; number < 300; number++) await send(fuzzCase(number, routes, { ids })).catch(() => undefined);
  const before = { memory: memoryKiB(pid), descriptors: descriptors(pid) };
  const started = Date.now();
  const problems: string[] = [];
  const statuses = new Map<number, number>();
  let next = FROM;
  const work = async (): Promise<void> => {
    while (next < FROM + COUNT && Date.now() - started < BUDGET_MS && problems.length < 20) {
      const one = fuzzCase(next++, routes, { ids });
      const told = `case ${one.number}: ${one.method} ${one.path.slice(0, 300)} ${JSON.stringify(one.headers)} ${one.body?.toString().slice(0, 300) ?? ''}`;
      try {
        const answer = await send(one);
        statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
        const problem = problemOf(one, answer);
        if (problem !== null) problems.push(`${problem}: ${told}\n    ${answer.text.slice(0, 300)}`);
      } catch (error) {
        problems.push(`${messageOf(error)}: ${told}`);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  agent.destroy();
  console.info(
    `${next - FROM} cases on ${routes.length} routes in ${Math.round((Date.now() - started) / 1000)} s: ${[...statuses]
      .sort()
      .map(([status, count]) => `${status} × ${count}`)
      .join(', ')}`,
  );
  expect(problems.join('\n')).toBe('');
  expect(next - FROM).toBeGreaterThan(Math.min(COUNT, 2000) - 1);
  // It is the same process, idle, with nothing left open.
  expect((await fetch(`http://127.0.0.1:${stack.port}/_ping`)).status).toBe(200);
  expect(endpointPid()).toBe(pid);
  await expect.poll(() => descriptors(pid) - before.descriptors, { timeout: 10_000 }).toBeLessThan(20);
  expect(memoryKiB(pid) - before.memory).toBeLessThan(MAX_GROWTH_KIB);
  expect(stack.endpointLog()).not.toContain('"msg":"a request failed"');
}, 120_000);
