/** The side of the process that stands by, in a process. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { STANDBY, standbyValue, TURN, UP } from '../../../src/common/standby.js';

const MODULE = fileURLToPath(new URL('../../../dist/src/common/standby.js', import.meta.url));
const PROGRAM = `
  import { standBy } from ${JSON.stringify(MODULE)};
  console.log('loaded');
  const up = await standBy();
  console.log(process.env.${STANDBY} ?? 'turn');
  up();
  process.on('message', () => {});
  if (process.send === undefined) setTimeout(() => console.log('works'), 1);
`;
const LINE = 4;

let child: ChildProcess;
let said: string;
let heard: string;
afterEach(() => void child.kill('SIGKILL'));

function start(environment: NodeJS.ProcessEnv, channel: 'ipc' | 'ignore' = 'ignore'): Socket {
  child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM], {
    stdio: ['ignore', 'pipe', 'inherit', channel, 'pipe'],
    env: { ...process.env, ...environment },
  });
  [said, heard] = ['', ''];
  child.stdout!.on('data', (data: Buffer) => {
    said += data.toString();
  });
  const line = (child.stdio as readonly unknown[])[LINE] as Socket;
  line
    .on('error', () => undefined)
    .on('data', (data: Buffer) => {
      heard += data.toString();
    });
  return line;
}
const over = (): Promise<number | null> =>
  new Promise((resolve) => {
    if (child.exitCode !== null) resolve(child.exitCode);
    else child.once('exit', resolve);
  });

it('waits for its turn, and says when it works', async () => {
  const line = start({ [STANDBY]: standbyValue(LINE, true) });
  await expect.poll(() => said).toBe('loaded\n');
  expect(heard).toBe('');
  line.write(TURN);
  expect(await over()).toBe(0);
  await expect.poll(() => [said, heard]).toEqual(['loaded\nturn\nworks\n', UP]);
});

it('works at once if it does not stand by', async () => {
  start({ [STANDBY]: standbyValue(LINE, false) });
  expect(await over()).toBe(0);
  await expect.poll(() => [said, heard]).toEqual(['loaded\nturn\nworks\n', UP]);
});

it('works at once if nobody keeps spares', async () => {
  start({ [STANDBY]: undefined });
  expect(await over()).toBe(0);
  await expect.poll(() => [said, heard]).toEqual(['loaded\nturn\nworks\n', '']);
});

it.each<[string, (line: Socket) => void]>([
  ['whoever started it has ended', (line) => line.destroy()],
  ['the message breaks off', (line) => line.end('tur')],
])('never works, and ends, when %s', async (_, happens) => {
  const line = start({ [STANDBY]: standbyValue(LINE, true) });
  happens(line);
  expect(await over()).toBe(0);
  await expect.poll(() => said).toBe('loaded\n');
});

it('ends when the process that it has a channel to does', async () => {
  start({ [STANDBY]: standbyValue(LINE, true) }, 'ipc');
  await expect.poll(() => said).toBe('loaded\n');
  child.disconnect();
  expect(await over()).toBe(0);
  expect(said).toBe('loaded\n');
});

it('works on when whoever gave it its turn ends', async () => {
  const line = start({ [STANDBY]: standbyValue(LINE, true) }, 'ipc');
  line.write(TURN);
  await expect.poll(() => heard).toBe(UP);
  line.destroy();
  // It has a channel to read from, so it would stay for ever.
  child.disconnect();
  expect(await over()).toBe(0);
  expect(said).toBe('loaded\nturn\n');
});
