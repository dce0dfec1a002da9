/** Clients that upload a file, and those that stall. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { type ClientRequest, createServer, request as httpRequest, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { isOwnFile } from '../../../src/hostd/datastore/own-files.js';
import { receiveFile, removeLeftUploads } from '../../../src/hostd/server/uploads.js';

let directory: string;
let server: Server;
/** The result of each upload. */
let ends: string[];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-uploads-'));
  ends = [];
  server = createServer((request, response) => {
    receiveFile(join(directory, 'file'), request, { ms: 200, bytes: 50 }).then(
      (existed) => {
        ends.push(existed ? 'replaced' : 'made');
        response.end();
      },
      (error: Error) => {
        ends.push(error.message);
        response.writeHead(408, { connection: 'close' }).end();
      },
    );
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((closed) => server.close(closed));
  rmSync(directory, { recursive: true });
});

function put(length: number | null): ClientRequest {
  const { port } = server.address() as AddressInfo;
  const headers = length === null ? {} : { 'content-length': length };
  return httpRequest({ port, host: '127.0.0.1', method: 'PUT', headers }).on('error', () => undefined);
}

const answer = (upload: ClientRequest): Promise<unknown> =>
  new Promise((resolve) => {
    upload.once('response', ({ statusCode }) => resolve(statusCode));
    upload.once('close', () => resolve('closed'));
  });

it('a file appears when it is complete, and not before', async () => {
  const upload = put(null);
  upload.write('begun');
  await expect.poll(() => readdirSync(directory)).toHaveLength(1);
  const [partial = ''] = readdirSync(directory);
  expect(isOwnFile(join(directory, partial))).toBe(true);
  upload.end(' and ended');
  await expect.poll(() => ends).toEqual(['made']);
  expect(readdirSync(directory)).toEqual(['file']);
  expect(readFileSync(join(directory, 'file'), 'utf8')).toBe('begun and ended');
  put(3).end('new');
  await expect.poll(() => ends).toEqual(['made', 'replaced']);
});

it.each([
  ['nothing of the length that was declared', 10, ''],
  ['a part of it', 10_000, 'x'.repeat(1000)],
  ['no end', null, 'x'],
])('an upload with %s is cut off, and leaves nothing behind', async (_what, length, sent) => {
  const upload = put(length);
  const told = answer(upload);
  upload.flushHeaders();
  upload.write(sent);
  expect(await told).toBe(408);
  await expect.poll(() => ends).toEqual([expect.stringContaining('does not go on')]);
  expect(readdirSync(directory)).toEqual([]);
});

it('an upload that trickles in is cut off too', async () => {
  const upload = put(null);
  const told = answer(upload);
  const drops = setInterval(() => upload.write('x'), 50);
  expect(await told).toBe(408);
  clearInterval(drops);
  expect(readdirSync(directory)).toEqual([]);
});

it('a slow client that makes progress is waited for', async () => {
  const upload = put(null);
  for (let i = 0; i < 20; i++) {
    upload.write('x'.repeat(1000));
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  upload.end();
  await expect.poll(() => ends).toEqual(['made']);
});

it('leftovers of a killed hostd are removed, and nothing else', async () => {
  const elsewhere = mkdtempSync(join(tmpdir(), 'caisson-elsewhere-'));
  const left = '.0123456789abcdef.caisson-upload';
  writeFileSync(join(elsewhere, left), '');
  mkdirSync(join(directory, 'a/b'), { recursive: true });
  for (const path of [left, `a/${left}`, `a/b/${left}`, 'a/b/kept', 'a/kept.upload-00000000'])
    writeFileSync(join(directory, path), '');
  symlinkSync(elsewhere, join(directory, 'a/link'));
  const upload = put(null);
  upload.write('begun');
  await expect.poll(() => readdirSync(directory)).toHaveLength(3);
  await removeLeftUploads(directory);
  expect(readdirSync(directory, { recursive: true }).sort()).toEqual([
    expect.stringMatching(/^\.[0-9a-f]{16}\.caisson-upload$/),
    ...['a', 'a/b', 'a/b/kept', 'a/kept.upload-00000000', 'a/link', `a/link/${left}`],
  ]);
  upload.end();
  await expect.poll(() => ends).toEqual(['made']);
  rmSync(elsewhere, { recursive: true });
});
