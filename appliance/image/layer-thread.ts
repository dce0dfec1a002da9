/** The thread of `layer-reader.ts`: reads, decompresses and hashes one layer, and sends as much of it as is requested. */
import { createHash } from 'node:crypto';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { CaissonError, messageOf } from '../../src/common/errors.js';
import { type FromThread, openTar, type ToThread } from './layer-reader.js';

const { path, ahead } = workerData as { path: string; ahead: number };
const port = parentPort as MessagePort;

/** Pieces that may be sent before the reader must ask for more. */
let credit = ahead;
let detached = false;
let wake: (() => void) | null = null;
let read = 0;

port.on('message', (message: ToThread) => {
  if ('credit' in message) credit += message.credit;
  else detached = true;
  wake?.();
});

function tell(message: FromThread, transfer: ArrayBuffer[] = []): void {
  port.postMessage(message, transfer);
}

try {
  const hash = createHash('sha256');
  const tar = await openTar(path, (bytes) => {
    read = bytes;
  });
  for await (const piece of tar) {
    hash.update(piece);
    while (credit === 0 && !detached)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    if (detached) continue;
    credit--;
    // Only a buffer that holds nothing else can be transferred: it moves to the other thread and is gone here.
    const own = piece.byteLength === piece.buffer.byteLength && piece.buffer instanceof ArrayBuffer;
    const chunk = own ? new Uint8Array(piece.buffer as ArrayBuffer) : new Uint8Array(piece);
    tell({ chunk, read }, [chunk.buffer]);
  }
  tell({ digest: `sha256:${hash.digest('hex')}`, read });
} catch (error) {
  tell({ failed: messageOf(error), kind: error instanceof CaissonError ? error.kind : null });
}
port.close();
