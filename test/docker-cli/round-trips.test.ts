/** How many vim25 calls the usual requests cost, each a round trip to vSphere. A rise must not go unnoticed. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startMirroredStack } from '../support/mirrored-stack.js';
import type { Stack } from '../support/stack.js';

let stack: Stack;
const level = process.env.CAISSON_LOG_LEVEL;

beforeAll(async () => {
  process.env.CAISSON_LOG_LEVEL = 'trace';
  stack = await startMirroredStack(['busybox']);
  await stack.docker('pull', 'busybox');
});

afterAll(async () => {
  if (level === undefined) delete process.env.CAISSON_LOG_LEVEL;
  else process.env.CAISSON_LOG_LEVEL = level;
  await stack?.stop();
});

interface Line {
  op?: string;
  span?: string;
}

/** Complete lines of the endpoint's log with timings; the log lags behind the answers. */
function traced(): Line[] {
  return stack
    .endpointLog()
    .split('\n')
    .slice(0, -1)
    .filter((line) => line.includes('"span"'))
    .map((line) => JSON.parse(line) as Line);
}

/** The vim25 calls of the latest request whose method and path match, in order. */
async function calls(request: RegExp): Promise<string[]> {
  const operation = (): string | undefined =>
    traced().findLast(({ span }) => span?.startsWith('begins ') && request.test(span))?.op;
  await expect.poll(operation, { message: String(request) }).toBeDefined();
  const op = operation();
  // An entry of a request is in the log once that of a later one is.
  await stack.docker('version');
  await expect
    .poll(() => traced().findLastIndex(({ span }) => /^begins .*\/version/.test(span ?? '')))
    .toBeGreaterThan(traced().findIndex((line) => line.op === op));
  const lines = traced();
  return lines.flatMap((line) => (line.op === op && line.span?.startsWith('vim25 ') ? [line.span.slice(6)] : []));
}

describe('round trips', () => {
  it('of create, start, stop and rm', async () => {
    await stack.docker(
      'create',
      '--name',
      'counted',
      'busybox',
      'sh',
      '-c',
      'trap "exit 0" TERM; echo up; while :; do sleep 0.1; done',
    );
    const create = await calls(/POST .*\/containers\/create/);
    expect(create.filter((call) => call.endsWith('_Task'))).toEqual(['CreateVM_Task']);
    // Three, or more for waiting for the task on a busy machine.
    expect(create.length).toBeLessThanOrEqual(7);
    await stack.docker('start', 'counted');
    const start = await calls(/POST .*\/start/);
    expect(start.filter((call) => call.endsWith('_Task'))).toEqual(['ReconfigVM_Task', 'PowerOnVM_Task']);
    // A slow power-on is waited for: create a filter, two answers, remove the filter.
    expect(start.length).toBeLessThanOrEqual(9);
    await expect.poll(async () => (await stack.docker('logs', 'counted')).stdout).toBe('up\n');
    await stack.docker('stop', 'counted');
    expect(await calls(/POST .*\/stop/)).toEqual([]);
    await stack.docker('rm', 'counted');
    const remove = await calls(/DELETE .*\/containers\//);
    expect(remove.slice(0, 2)).toEqual(['Destroy_Task', 'RetrievePropertiesEx']);
    expect(remove.length).toBeLessThanOrEqual(6);
  });

  it('of ps, inspect and exec: none', async () => {
    await stack.docker('run', '-d', '--name', 'seen', 'busybox', 'sleep', '1000');
    await stack.docker('ps', '-a');
    expect(await calls(/GET .*\/containers\/json/)).toEqual([]);
    await stack.docker('inspect', 'seen');
    expect(await calls(/GET .*\/containers\/seen\/json/)).toEqual([]);
    await stack.docker('exec', 'seen', 'true');
    expect(await calls(/POST .*\/exec\/.*\/start/)).toEqual([]);
    await stack.docker('rm', '-f', 'seen');
  });
});
