/** One of the two engines: carries out the steps of a case and returns the raw outcome of each. */
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import type { Socket } from 'node:net';
import { extract } from 'tar-stream';
import { messageOf } from '../../src/common/errors.js';
import { run } from '../support/stack.js';
import { type CallStep, type Case, CONTAINER, isScript, type ScriptStep, type Step, step } from './case.js';

const TIMEOUT_MS = 240_000;
/** What has not ended by then is taken to have no end, where that is what is expected. */
const NEVER_MS = 5_000;
const HEADERS = [
  'api-version',
  'builder-version',
  'cache-control',
  'content-type',
  'docker-experimental',
  'location',
  'ostype',
  'pragma',
  'server',
  'swarm',
  'upgrade',
  'x-docker-container-path-stat',
];

/** What came of a step. */
export type Outcome =
  | { code: number; stdout: string; stderr: string }
  | { status: number | string; headers: Record<string, string>; body: unknown };

/** An engine under comparison. */
export class EngineSide {
  /**
   * @param dockerHost `tcp://…` or `unix://…`
   * @param configDir for the CLI, of its own
   * @param words what words in braces mean for this engine
   */
  constructor(
    readonly dockerHost: string,
    private readonly configDir: string,
    private readonly words: ReadonlyMap<string, string>,
  ) {}

  /** Carries out a case and removes its containers. @throws when a step that is not compared fails */
  async play({ name, steps }: Case, subject: string): Promise<Outcome[]> {
    const prefix = `dt-${subject}-${name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')}`;
    const seconds = (): string => (Date.now() / 1000).toFixed(3);
    const kept = new Map([...this.words, ['begin', seconds()]]);
    const filled = (text: string): string =>
      text
        .replaceAll(CONTAINER, (_all, word: string) => `${prefix}-${word}`)
        .replaceAll(/\{(\w+)\}/g, (all, word: string) => (word === 'now' ? seconds() : (kept.get(word) ?? all)));
    const names = new Set(steps.flatMap((one) => step.names(one)).map((word) => `${prefix}-${word}`));
    const remove = async (): Promise<void> => {
      for (const one of names)
        await this.call({ method: 'DELETE', path: `/containers/${one}?force=1&v=1` }, (text) => text, new Map());
    };
    await remove();
    try {
      const outcomes: Outcome[] = [];
      for (const one of steps) {
        const outcome = isScript(one) ? await this.script(one, filled) : await this.call(one, filled, kept);
        if (one.quiet && !succeeded(outcome))
          throw new Error(`${this.dockerHost}: ${step.title(one)}: ${JSON.stringify(outcome)}`);
        outcomes.push(outcome);
      }
      return outcomes;
    } finally {
      await remove();
    }
  }

  private async script({ script, sorted }: ScriptStep, filled: (text: string) => string): Promise<Outcome> {
    const { code, stdout, stderr } = await run('sh', ['-c', filled(script)], {
      // What scripts make is removed with the directory.
      env: { DOCKER_HOST: this.dockerHost, DOCKER_CONFIG: this.configDir, TMPDIR: this.configDir },
      timeoutMs: TIMEOUT_MS,
    });
    return { code, stdout: sorted ? stdout.split('\n').sort().join('\n') : stdout, stderr };
  }

  private async call(wanted: CallStep, filled: (text: string) => string, kept: Map<string, string>): Promise<Outcome> {
    const body = wanted.postedBack === undefined ? wanted.body : createBody(kept.get(wanted.postedBack) ?? '');
    const text = body === undefined ? undefined : filled(typeof body === 'string' ? body : JSON.stringify(body));
    const version = wanted.version ?? '1.51';
    const address = new URL(this.dockerHost);
    const options: RequestOptions = {
      ...(address.protocol === 'unix:'
        ? { socketPath: address.pathname }
        : { host: address.hostname, port: address.port }),
      method: wanted.method,
      path: encodeFilters(`${version === '' ? '' : `/v${version}`}${filled(wanted.path)}`),
      headers: {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(wanted.upgrade === undefined ? {} : { connection: 'Upgrade', upgrade: 'tcp' }),
        ...wanted.headers,
      },
    };
    const answer = await exchange(options, text, wanted.upgrade, wanted);
    if ('failure' in answer) return { status: answer.failure, headers: {}, body: null };
    const headers = Object.fromEntries(
      HEADERS.flatMap((one) => (answer.headers[one] === undefined ? [] : [[one, String(answer.headers[one])]])),
    );
    let value = await bodyOf(headers['content-type'] ?? '', answer.bytes, wanted.path);
    for (const [word, path] of Object.entries(wanted.keep ?? {})) {
      const keys = path === '' ? [] : path.split('.');
      const found = keys.reduce<unknown>((at, key) => (at as Record<string, unknown>)?.[key], value);
      kept.set(word, typeof found === 'object' ? JSON.stringify(found) : String(found));
    }
    if (wanted.only !== undefined) value = reduce(value, wanted.only);
    if (wanted.sorted && Array.isArray(value))
      value = value.sort((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)));
    return { status: answer.status, headers, body: value };
  }
}

/** From an answer of `inspect` to the body of `create`. */
function createBody(inspected: string): object {
  const { Config, HostConfig, NetworkSettings } = JSON.parse(inspected) as Record<string, Record<string, unknown>>;
  return { ...Config, HostConfig, NetworkingConfig: { EndpointsConfig: NetworkSettings?.Networks } };
}

/** JSON in a query may be written as it is. */
const encodeFilters = (path: string): string => path.replaceAll(/[{}"[\]<>^| ]/g, encodeURIComponent);

function reduce(value: unknown, only: string[]): unknown {
  if (Array.isArray(value)) return only.length === 0 ? '<list>' : value.map((one) => reduce(one, only));
  if (value === null || typeof value !== 'object' || 'message' in value) return value;
  return Object.fromEntries(Object.entries(value).filter(([key]) => only.includes(key)));
}

function succeeded(outcome: Outcome): boolean {
  if ('code' in outcome) return outcome.code === 0;
  return typeof outcome.status === 'number' && outcome.status < 400;
}

type Answer = { status: number; headers: IncomingMessage['headers']; bytes: Buffer } | { failure: string };

function exchange(
  options: RequestOptions,
  body: string | undefined,
  input: string | undefined,
  { cutAfterMs, neverEnds }: Pick<CallStep, 'cutAfterMs' | 'neverEnds'>,
): Promise<Answer> {
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    let answer: IncomingMessage | undefined;
    const done = (failure?: string): void => {
      clearTimeout(timer);
      resolve(
        answer === undefined || failure !== undefined
          ? { failure: failure ?? 'no answer' }
          : { status: answer.statusCode ?? 0, headers: answer.headers, bytes: Buffer.concat(parts) },
      );
      sent.destroy();
    };
    let timer = setTimeout(() => done('timeout'), neverEnds === true ? NEVER_MS : TIMEOUT_MS);
    const read = (stream: IncomingMessage | Socket): void => {
      stream.on('data', (part: Buffer) => parts.push(part));
      stream.on('end', () => done());
      stream.on('error', (error) => done(messageOf(error)));
    };
    const sent = httpRequest({ agent: false, ...options }, (response) => {
      answer = response;
      read(response);
      if (cutAfterMs === undefined) return;
      clearTimeout(timer);
      timer = setTimeout(() => done(), cutAfterMs);
    });
    sent.on('upgrade', (response, socket: Socket, first) => {
      answer = response;
      parts.push(first);
      read(socket);
      socket.end(input ?? '');
    });
    sent.on('error', (error) => done(messageOf(error)));
    sent.end(body);
  });
}

/** The body as something that can be compared part by part. */
async function bodyOf(type: string, bytes: Buffer, path: string): Promise<unknown> {
  if (type.startsWith('application/vnd.docker.multiplexed-stream')) return demultiplexed(bytes);
  if (type.startsWith('application/vnd.docker.raw-stream') && !/\/attach|\/start|\/logs/.test(path))
    return bytes.toString();
  if (type === 'application/x-tar') return tarEntries(bytes);
  const text = bytes.toString();
  if (!type.startsWith('application/json')) return text;
  try {
    // Of events there may be one, and still it is a list.
    return path.startsWith('/events') && !text.startsWith('{"message"') ? lines(text) : (JSON.parse(text) as unknown);
  } catch {
    try {
      return lines(text);
    } catch {
      return text;
    }
  }
}

/** JSON, a value on each line. */
const lines = (text: string): unknown[] =>
  text
    .split(/\r?\n/)
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown);

/** Frames that follow each other on one stream are joined: their borders are nobody's promise. */
function demultiplexed(bytes: Buffer): unknown {
  const streams: Record<string, string> = {};
  let at = 0;
  while (at + 8 <= bytes.length) {
    const name = ['stdin', 'stdout', 'stderr'][bytes[at]!] ?? `stream ${bytes[at]}`;
    const length = bytes.readUInt32BE(at + 4);
    streams[name] = (streams[name] ?? '') + bytes.subarray(at + 8, at + 8 + length).toString();
    at += 8 + length;
  }
  return at === bytes.length ? streams : { ...streams, remainder: bytes.length - at };
}

async function tarEntries(bytes: Buffer): Promise<unknown> {
  const reader = extract();
  reader.end(bytes);
  const entries: unknown[] = [];
  for await (const entry of reader) {
    const { name, type, mode, size, uid, gid, linkname } = entry.header;
    const content: Buffer[] = [];
    for await (const part of entry) content.push(part as Buffer);
    entries.push({
      name,
      type,
      mode,
      size,
      uid,
      gid,
      linkname,
      content: Buffer.concat(content).toString().slice(0, 100),
    });
  }
  return entries;
}

export type { Step };
