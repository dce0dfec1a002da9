/** Large amounts of data through streams: every byte arrives, and no process's memory grows with it. */
import { spawn } from 'node:child_process';
import { createHash, type Hash } from 'node:crypto';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { growthDuring, type Memory } from '../support/engine-memory.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { rawRequest } from '../support/raw-http.js';
import type { Stack } from '../support/stack.js';

const BLOCK = 1 << 20;
/** Megabytes sent through each stream; a process may grow by far less meanwhile. */
const AMOUNT = 100;
const GROWTH = 70;
let stack: Stack;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  await stack.docker('run', '-d', '--name', 'box', 'busybox', 'sleep', '1000');
});

afterAll(() => stack?.stop());

/** Bytes that differ from block to block. */
function* blocks(megabytes: number, hash: Hash): Generator<Buffer> {
  for (let index = 0; index < megabytes; index++) {
    const block = Buffer.alloc(BLOCK, `block ${index} of what is sent `);
    hash.update(block);
    yield block;
  }
}

/** Sends through the docker CLI and checks what comes back. */
async function roundTrip(megabytes: number, ...args: string[]): Promise<void> {
  const child = spawn('docker', args, {
    env: { ...process.env, DOCKER_HOST: stack.dockerHost },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const sent = createHash('md5');
  const came = createHash('md5');
  const code = new Promise((resolve) => child.once('close', resolve));
  await Promise.all([
    pipeline(Readable.from(blocks(megabytes, sent), { objectMode: true, highWaterMark: 1 }), child.stdin),
    pipeline(child.stdout, came),
  ]);
  expect(await code).toBe(0);
  expect(came.digest('hex')).toBe(sent.digest('hex'));
}

function expectSteady(growth: Memory): void {
  expect(Object.keys(growth)).toEqual(expect.arrayContaining(['hostd', 'endpoint']));
  for (const [name, megabytes] of Object.entries(growth)) expect(megabytes, name).toBeLessThan(GROWTH);
}

/** Memory that the guest's kernel and the tether could give to others, in bytes. */
async function guestMemory(): Promise<number> {
  const { stdout } = await stack.docker('exec', 'box', 'grep', 'MemAvailable', '/proc/meminfo');
  return Number(/(\d+) kB/.exec(stdout)?.[1]) * 1024;
}

it(`${AMOUNT} MB go into a container and come back out`, async () => {
  await roundTrip(10, 'run', '-i', '--rm', 'busybox', 'cat');
  expectSteady(await growthDuring(stack, () => roundTrip(AMOUNT, 'run', '-i', '--rm', 'busybox', 'cat')));
});

it(`${AMOUNT} MB go through an exec, and the guest has as much memory as before`, async () => {
  await roundTrip(10, 'exec', '-i', 'box', 'cat');
  const before = await guestMemory();
  expectSteady(await growthDuring(stack, () => roundTrip(AMOUNT, 'exec', '-i', 'box', 'cat')));
  expect(before - (await guestMemory())).toBeLessThan(16 << 20);
});

/** Starts an exec of `box`; its output is what comes on the connection after the answer's head. */
async function startExec(command: string[]): Promise<string> {
  const created = await rawRequest(stack.port, '/containers/box/exec', {
    upgrade: false,
    body: { Cmd: command, AttachStdout: true, Tty: true },
  });
  const body = created.received().toString();
  created.socket.destroy();
  return /"Id":"([0-9a-f]+)"/.exec(body)![1]!;
}

/** The bytes of an exec's output, or without `read`, a client that never reads. */
function execBytes(id: string, read: boolean): Promise<{ bytes: number; close(): void }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port: stack.port, host: '127.0.0.1' });
    socket.on('error', reject);
    const body = '{"Tty":true}';
    socket.write(
      `POST /exec/${id}/start HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    let head = '';
    let bytes = 0;
    const done = { bytes, close: () => void socket.destroy() };
    if (!read) {
      resolve(done);
      return;
    }
    socket.on('data', (data) => {
      if (head.includes('\r\n\r\n')) {
        bytes += data.length;
        return;
      }
      head += data.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      if (end >= 0) bytes += head.length - end - 4;
    });
    socket.on('end', () => resolve({ ...done, bytes }));
  });
}

it('fifty concurrent execs give 2 MB each, beside clients that do not read', async () => {
  const stuck: { close(): void }[] = [];
  const growth = await growthDuring(stack, async () => {
    for (let i = 0; i < 5; i++) stuck.push(await execBytes(await startExec(['cat', '/dev/zero']), false));
    const ids = await Promise.all(
      Array.from({ length: 50 }, () => startExec(['dd', 'if=/dev/zero', 'bs=64k', 'count=32', 'status=none'])),
    );
    const outputs = await Promise.all(ids.map((id) => execBytes(id, true)));
    expect(outputs.map(({ bytes }) => bytes)).toEqual(Array.from({ length: 50 }, () => 2 << 20));
  });
  for (const { close } of stuck) close();
  expectSteady(growth);
});
