/** A porter or relay that does not answer: waiting callers get an error, and late results are undone. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PorterGateway } from '../../../appliance/gateway/gateway.js';
import type { PorterAnswer, PorterRequest } from '../../../src/porter/messages.js';
import { RelayProcess } from '../../../src/porter/relay-process.js';
import { compiledRelay } from '../../support/docker-engine.js';

describe('a porter that does not answer', () => {
  let hear: (message: PorterAnswer, socket?: unknown) => void;
  const sent: PorterRequest[] = [];
  const gateway = new PorterGateway(
    {
      send: (message) => void sent.push(message),
      onMessage: (heard) => {
        hear = (message, socket) => heard(message, socket);
      },
    },
    () => undefined,
    () => undefined,
    20,
    20,
  );

  it.each([
    ['publish', () => gateway.publish(7, 'tcp', '127.0.0.1', 0)],
    ['serve', () => gateway.serve({ socket: true })],
    ['gateway', () => gateway.start([{ interface: 'eth0', address: '172.16.0.1/16' }])],
  ])('%s ends with an error', async (kind, ask) => {
    await expect(ask()).rejects.toThrow('the porter has not answered for 0.02 s');
    expect(sent.at(-1)?.kind).toBe(kind);
  });

  it('a port that opens too late is closed, and so is a socket', async () => {
    await expect(gateway.publish(8, 'tcp', '127.0.0.1', 0)).rejects.toThrow('not answered');
    hear({ kind: 'done', request: (sent.at(-1) as { request: number }).request, port: 1234 });
    expect(sent.at(-1)).toEqual({ kind: 'close', id: 8 });
    await expect(gateway.serve({ socket: true })).rejects.toThrow('not answered');
    let closed = false;
    hear({ kind: 'done', request: (sent.at(-1) as { request: number }).request }, { close: () => (closed = true) });
    expect(closed).toBe(true);
  });

  it('a late error changes nothing, and an answer in time is passed on', async () => {
    await expect(gateway.publish(9, 'tcp', '127.0.0.1', 0)).rejects.toThrow('not answered');
    const count = sent.length;
    hear({ kind: 'failed', request: (sent.at(-1) as { request: number }).request, error: { message: 'taken' } });
    expect(sent).toHaveLength(count);
    const asked = gateway.publish(10, 'tcp', '127.0.0.1', 0);
    hear({ kind: 'done', request: (sent.at(-1) as { request: number }).request, port: 99 });
    expect(await asked).toBe(99);
  });
});

describe('a relay that hangs', () => {
  let program: string;
  const directory = mkdtempSync(join(tmpdir(), 'caisson-beat-'));
  const beatFile = join(directory, 'beat');
  const beat = openSync(beatFile, 'w');
  beforeAll(async () => {
    program = await compiledRelay();
  });
  afterAll(() => {
    closeSync(beat);
    rmSync(directory, { recursive: true });
  });

  it('is killed and restarted; what it has not answered is reported', async () => {
    let pid = 0;
    let hangs: (why: string) => void = () => undefined;
    let watched = 0;
    const watch = (of: number, tell: (why: string) => void): { stop(): void } => {
      [pid, hangs, watched] = [of, tell, watched + 1];
      return { stop: () => void watched-- };
    };
    let again = 0;
    const relay = new RelayProcess([program], () => again++, { descriptor: beat, watch });
    await relay.start();
    expect(readFileSync(beatFile, 'utf8')).toBe('.');
    const first = pid;
    process.kill(first, 'SIGSTOP');
    const asked = Promise.allSettled([1, 2, 3].map((id) => relay.publish(id, 'tcp', '127.0.0.1', 0)));
    hangs('a test says so');
    const ended = await asked;
    expect(ended.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    await expect.poll(() => again, { timeout: 10_000 }).toBe(1);
    expect(pid).not.toBe(first);
    expect(watched).toBe(1);
    expect(await relay.publish(4, 'tcp', '127.0.0.1', 0)).toBeGreaterThan(0);
    relay.stop();
    await expect.poll(() => watched, { timeout: 10_000 }).toBe(0);
  });
});
