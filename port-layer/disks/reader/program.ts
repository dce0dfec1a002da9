/**
 * A process that reads (and changes) disks that a guest may have written to, for one call of the endpoint at a time. Whatever such a disk
 * does to its reader happens here: the endpoint kills a process that is silent, works too long, or needs too much memory. File descriptor 3
 * is a socket to the endpoint, which reads the datastore for it.
 */
import { writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { internal } from '../../../src/common/errors.js';
import { FrameReader } from '../frames.js';
import { type DiskRequest, type ToldError, type ToReader, tellError, toldError } from '../messages.js';
import { type PackedRecords, unpackRecords } from '../records.js';
import { BatchSender } from './batch-sender.js';
import { EndpointFiles } from './endpoint.js';
import { ServedDisk } from './served-disk.js';

/** How often it gives a sign of life while it works. */
const ALIVE_MS = 500;
/** Batches of a tree that may be in transit. */
const AHEAD = 4;

try {
  // When memory is short, this process goes before the endpoint.
  writeFileSync('/proc/self/oom_score_adj', '500');
} catch {
  // Only a preference, so a failure does not matter.
}

const socket = new Socket({ fd: 3, readable: true, writable: true });
const endpoint = new EndpointFiles(socket);
const frames = new FrameReader<ToReader>();
const disks = new Map<number, ServedDisk>();
const trees = new Map<number, BatchSender>();
/** Per disk: records are stored in the order in which they arrive. */
const puts = new Map<number, { last: Promise<void>; failure: ToldError | null }>();
let busy = 0;

socket.on('data', (piece: Buffer) => {
  for (const { message, bytes } of frames.push(piece)) received(message, bytes);
});
socket.on('error', () => process.exit(0));
socket.on('close', () => process.exit(0));
setInterval(() => {
  if (busy > 0) endpoint.send({ type: 'alive' });
}, ALIVE_MS);

function received(message: ToReader, bytes: Buffer): void {
  switch (message.type) {
    case 'request':
      void answer(message.id, message.disk, message.request);
      break;
    case 'credit':
      trees.get(message.id)?.grant(message.batches);
      break;
    case 'cancel':
      trees.get(message.id)?.cancel();
      break;
    case 'records':
      put(message.disk, message.records, bytes);
      break;
    default:
      endpoint.answered(message, bytes);
  }
}

async function answer(id: number, disk: number, request: DiskRequest): Promise<void> {
  busy++;
  try {
    const value = await carryOut(id, disk, request);
    endpoint.send({ type: 'answer', id, value });
  } catch (error) {
    endpoint.send({ type: 'failed', id, error: tellError(error) });
  } finally {
    trees.delete(id);
    busy--;
  }
}

async function carryOut(id: number, number: number, request: DiskRequest): Promise<unknown> {
  if (request.op === 'open') {
    const opener = endpoint.opener(number, new Set(request.layers));
    disks.set(number, await ServedDisk.open(request.path, opener, (extent) => endpoint.numberOf(extent)));
    return;
  }
  const disk = disks.get(number);
  if (disk === undefined) throw internal('there is no such disk');
  switch (request.op) {
    case 'stat':
      return disk.stat(request.path);
    case 'tree': {
      const sender = new BatchSender(endpoint, id, AHEAD);
      trees.set(id, sender);
      return disk.tree(request.path, request.options, sender);
    }
    case 'grains': {
      const sender = new BatchSender(endpoint, id, AHEAD);
      trees.set(id, sender);
      return disk.grains(sender);
    }
    case 'said': {
      const sender = new BatchSender(endpoint, id, AHEAD);
      trees.set(id, sender);
      return disk.said(request.files, request.unit, sender);
    }
    case 'change':
      return disk.change(request.local);
    case 'sync':
      return allPut(number);
    case 'finish':
      await allPut(number);
      return disk.finish();
    case 'usage':
      return disk.usage();
    case 'empty':
      return disk.isEmpty();
    case 'dirty':
      return disk.isDirty;
    case 'close':
      disks.delete(number);
      await puts.get(number)?.last;
      puts.delete(number);
      return disk.close();
  }
}

/** After the first record that cannot be stored, no others are. */
function put(number: number, records: PackedRecords, bytes: Buffer): void {
  const queue = puts.get(number) ?? { last: Promise.resolve(), failure: null };
  puts.set(number, queue);
  busy++;
  queue.last = queue.last.then(async () => {
    const disk = disks.get(number);
    try {
      if (disk !== undefined && queue.failure === null)
        for (const record of unpackRecords(records, bytes)) await disk.put(record);
    } catch (error) {
      queue.failure = tellError(error);
    }
    endpoint.send({
      type: 'taken',
      disk: number,
      ...(queue.failure === null ? {} : { error: queue.failure }),
    });
    busy--;
  });
}

async function allPut(number: number): Promise<void> {
  const queue = puts.get(number);
  if (queue === undefined) return;
  await queue.last;
  if (queue.failure !== null) throw toldError(queue.failure);
}
