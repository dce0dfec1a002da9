/** `/folder`: files of the datastore over HTTPS (vSphere Web Services SDK, "HTTP access to vSphere server files"). */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { errnoOf, isKind, messageOf } from '../../common/errors.js';
import { HANDED_DISK } from '../../common/handed-disk.js';
import { withRoomyHeap } from '../../common/roomy-heap.js';
import type { DatastoreFiles } from '../datastore/datastore-files.js';
import { DATASTORE } from '../datastore/datastore-places.js';
import { deleteFile } from '../datastore/file-changes.js';
import { diskReplaced } from '../disks/disk-records.js';
import { FaultError } from '../faults.js';
import { takeDisk } from './handed-disks.js';
import { receiveFile } from './uploads.js';

const STATUS: Record<string, number> = {
  ENOENT: 404,
  EISDIR: 409,
  ENOTDIR: 404,
  ENOSPC: 507,
  EEXIST: 409,
  ENAMETOOLONG: 400,
};

const METHODS = 'GET, HEAD, PUT and DELETE are possible';
const READING = new Set(['GET', 'HEAD']);

/**
 * Answers one request of a caller that is already known.
 * @param here whether it came from this machine, whose endpoints may hand over what they have on it
 */
export async function serveFolder(
  files: DatastoreFiles,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
  here = false,
): Promise<void> {
  const fail = (status: number, message: string): void => {
    request.resume();
    response
      .writeHead(status, { 'content-type': 'text/plain' })
      .end(request.method === 'HEAD' ? undefined : `${message}\n`);
  };
  const name = url.searchParams.get('dsName');
  const place = files.named(name ?? DATASTORE);
  if (place === undefined) return fail(404, `there is no datastore '${name}'`);
  try {
    const named = files.inside(decodeURIComponent(url.pathname.slice('/folder'.length)), place);
    const path = await files.admit(named, READING.has(request.method ?? '') ? 'read' : 'write');
    switch (request.method) {
      case 'GET':
      case 'HEAD':
        return await send(path, request, response, fail);
      case 'PUT':
        return await receive(path, request, response);
      case 'COPY':
        if (!here) return fail(405, METHODS);
        return await takeOver(path, request, response);
      case 'DELETE':
        if ((await stat(path)).isDirectory()) return fail(409, 'is a directory');
        await deleteFile(path);
        response.writeHead(204).end();
        return;
      default:
        return fail(405, METHODS);
    }
  } catch (error) {
    if (response.headersSent) {
      response.destroy();
      return;
    }
    if (isKind(error, 'timeout')) {
      response.setHeader('connection', 'close');
      return fail(408, messageOf(error));
    }
    if (error instanceof FaultError && error.fault.$type === 'NoPermission') return fail(403, messageOf(error));
    if (isKind(error, 'forbidden')) return fail(403, messageOf(error));
    if (error instanceof FaultError || error instanceof URIError || isKind(error, 'invalid'))
      return fail(400, messageOf(error));
    fail(STATUS[errnoOf(error) ?? ''] ?? 500, errnoOf(error) ?? 'internal error');
  }
}

async function send(
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
  fail: (status: number, message: string) => void,
): Promise<void> {
  const info = await stat(path);
  if (info.isDirectory()) return fail(409, 'is a directory');
  const range = parseRange(request.headers.range, info.size);
  if (range === 'unsatisfiable') {
    response.setHeader('content-range', `bytes */${info.size}`);
    return fail(416, 'the range lies beyond the file');
  }
  const { start, end } = range ?? { start: 0, end: info.size };
  response.writeHead(range === null ? 200 : 206, {
    'content-type': 'application/octet-stream',
    'accept-ranges': 'bytes',
    'content-length': end - start,
    'last-modified': info.mtime.toUTCString(),
    ...(range === null ? {} : { 'content-range': `bytes ${start}-${end - 1}/${info.size}` }),
  });
  if (request.method === 'HEAD' || end === start) {
    response.end();
    return;
  }
  await withRoomyHeap(() =>
    pipeline(createReadStream(path, { start, end: end - 1, highWaterMark: 256 * 1024 }), response),
  );
}

/** Parses a single byte range (RFC 9110, 14.1.2); a request for several is answered with the whole file. */
function parseRange(header: string | undefined, size: number): { start: number; end: number } | null | 'unsatisfiable' {
  const match = header === undefined ? null : /^bytes=(\d*)-(\d*)$/.exec(header.trim());
  if (match === null || (match[1] === '' && match[2] === '')) return null;
  if (match[1] === '') return { start: Math.max(0, size - Number(match[2])), end: size };
  const start = Number(match[1]);
  if (start >= size) return 'unsatisfiable';
  return { start, end: match[2] === '' ? size : Math.min(size, Number(match[2]) + 1) };
}

/** Takes an upload. */
async function receive(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const existed = await withRoomyHeap(() => receiveFile(path, request));
  if (existed) await diskReplaced(path);
  response.writeHead(existed ? 200 : 201).end();
}

/** Takes a disk that an endpoint of this machine hands over. */
async function takeOver(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  request.resume();
  const existed = await takeDisk(path, String(request.headers[HANDED_DISK] ?? ''));
  if (existed) await diskReplaced(path);
  response.writeHead(existed ? 200 : 201).end();
}
