/**
 * The names server: a process in the gateway's network namespace that answers containers' questions for names. It has no rights but to
 * listen on port 53. The porter starts it, says when it is to listen (until then it is a spare), and passes on what the endpoint tells of
 * names.
 */
import { startHeartbeatIfAsked } from '../../../src/common/heartbeat.js';
import { logger } from '../../../src/common/log.js';
import type { NamesEvent, NamesRequest } from '../../../src/porter/names-process.js';
import type { NamesAnswer } from '../../../src/porter/names-table.js';
import { NamesServer } from './names-server.js';
import { listen } from './sockets.js';
import { network } from './upstream.js';

const log = logger('names');
const PORT = 53;
/** So long an asker waits until its answer has been taken in. Without it the way there may still be closed when it goes it. */
const REPORT_MS = 500;

const reports = new Map<number, () => void>();
let last = 0;

function tell(event: NamesEvent): void {
  process.send?.(event);
}

function report(answer: NamesAnswer): Promise<void> {
  const id = ++last;
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      reports.delete(id);
      resolve();
    };
    const timer = setTimeout(done, REPORT_MS);
    reports.set(id, done);
    tell({ kind: 'report', id, answer });
  });
}

const server = new NamesServer({
  transport: network,
  now: () => performance.now(),
  report,
  refused: (lookups) => tell({ kind: 'refused', lookups }),
});

async function serve(): Promise<void> {
  startHeartbeatIfAsked();
  await listen(server, [
    { address: '0.0.0.0', port: PORT },
    { address: '::', port: PORT },
  ]);
  tell({ kind: 'ready' });
}

process.on('message', (message: NamesRequest) => {
  switch (message.kind) {
    case 'serve':
      // Whoever cannot listen is of no use: the porter starts another.
      serve().catch((error: unknown) => {
        log.error({ err: error }, 'the names server cannot listen');
        process.exit(1);
      });
      break;
    case 'change':
      server.apply(message.change);
      tell({ kind: 'done', request: message.request });
      break;
    case 'reported':
      reports.get(message.id)?.();
      break;
  }
});
// The porter has gone; its successor starts a server of its own.
process.on('disconnect', () => process.exit(0));
process.on('unhandledRejection', (error) => log.error({ err: error }, 'unhandled rejection'));
