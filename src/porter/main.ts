/**
 * The porter of an endpoint: the only process of a virtual container host that runs as root. hostd starts it with the endpoint and connects
 * the two by a Node channel, over which open sockets are passed. It listens for the endpoint (its unix socket, low ports), and starts the gateway's
 * worker in the network namespace where the containers are. It does nothing else, and ends with the endpoint.
 *
 * The endpoint is not trusted: what it says is checked here, and is never a path or a command.
 */
import type { Server } from 'node:net';
import { invalid, unsupported } from '../common/errors.js';
import { startHeartbeatIfAsked } from '../common/heartbeat.js';
import { logger } from '../common/log.js';
import { identify } from '../common/process-id.js';
import { socketGroup } from '../common/socket-group.js';
import { watchOver } from '../common/watchdog.js';
import { bindSocket, bindTcp } from './binding.js';
import { setUpCard } from './gateway-cards.js';
import { type GatewayNetwork, type PorterAnswer, type PorterRequest, tellError } from './messages.js';
import { NamesProcess } from './names-process.js';
import { parseRequest } from './parse-request.js';
import { type ChildWatch, PORTER_SETUP, type PorterSetup } from './setup.js';
import { WorkerProcess, type WorkerWatch } from './worker-process.js';

const log = logger('porter');
const setup = JSON.parse(process.env[PORTER_SETUP] ?? '') as PorterSetup;
delete process.env[PORTER_SETUP];
startHeartbeatIfAsked();

let worker: WorkerProcess | null = null;
const names = new NamesProcess(
  setup.names,
  {
    ready: () => void answer({ kind: 'again', of: 'names' }),
    report: (id, told) => void answer({ kind: 'report', id, answer: told }),
  },
  watchFor(setup.namesWatch),
);

function answer(message: PorterAnswer, socket?: Server): Promise<void> {
  // The endpoint may have gone; the channel will tell.
  return new Promise((resolve) => process.send?.(message, socket, {}, () => resolve()));
}

async function serve(request: number, place: (PorterRequest & { kind: 'serve' })['place']): Promise<void> {
  if ('host' in place && !setup.listen.some(({ host, port }) => host === place.host && port === place.port))
    throw invalid(`the Docker API is not to be served on ${place.host}:${place.port}`);
  const group = socketGroup();
  if ('socket' in place && group === null) log.warn('there is no group "caisson": only root can use the Docker socket');
  const server =
    'socket' in place
      ? await bindSocket(setup.socket, setup.socketDraft, group)
      : await bindTcp(place.host, place.port);
  await answer({ kind: 'done', request }, server);
  server.close();
}

function watchFor({ descriptor, beatFile, hangMs }: ChildWatch): WorkerWatch {
  return {
    descriptor,
    watch: (pid, hangs) => {
      const process = identify(pid);
      return process === null ? { stop: () => undefined } : watchOver(process, beatFile, hangs, hangMs);
    },
  };
}

/** The first request starts the worker. Only an endpoint that can no longer be trusted would send a second. */
async function startWorker(networks: readonly GatewayNetwork[]): Promise<void> {
  if (worker !== null) throw invalid('the gateway is there already');
  worker = new WorkerProcess(setup.worker, () => void answer({ kind: 'again', of: 'relay' }), watchFor(setup.watch));
  for (const { interface: name, address } of networks)
    await setUpCard(setup.netns, { interface: name, addresses: [address], mtu: 0 });
  // Nobody waits for it: the endpoint is told when it listens.
  names.start();
  await worker.start();
}

/** @throws invalid for an address that the virtual container host was not granted. An honest endpoint has refused it already. */
function checkPublished(host: string, port: number): void {
  const { addresses, lowestPort } = setup.publish;
  if ((port !== 0 && port < lowestPort) || addresses?.includes(host) === false)
    throw invalid(`${host}:${port} is not to be published`);
}

async function handle(message: PorterRequest): Promise<void> {
  switch (message.kind) {
    case 'serve':
      return serve(message.request, message.place);
    case 'gateway':
      await startWorker(message.networks);
      return answer({ kind: 'done', request: message.request });
    case 'publish': {
      if (worker === null) throw invalid('there is no gateway');
      checkPublished(message.host, message.port);
      const port = await worker.publish(message.id, message.protocol, message.host, message.port);
      return answer({ kind: 'done', request: message.request, port });
    }
    case 'network': {
      if (message.egress) throw unsupported('the relay carries nothing to the world outside yet');
      await setUpCard(setup.netns, message);
      return answer({ kind: 'done', request: message.request });
    }
    case 'network-gone':
      return answer({ kind: 'done', request: message.request });
    case 'forward':
      throw unsupported('the relay forwards nothing yet');
    case 'counters':
      return answer({ kind: 'done', request: message.request, counters: [] });
    case 'names':
      await names.change(message.change);
      return answer({ kind: 'done', request: message.request });
    case 'reported':
      names.reported(message.id);
      return;
    case 'target':
      worker?.target(message.id, message.address, message.port);
      return;
    case 'close':
      worker?.close(message.id);
      return;
  }
}

process.on('message', (raw, socket) => {
  // The endpoint has no socket to pass.
  (socket as { close?(): void } | undefined)?.close?.();
  const message = parseRequest(raw);
  if (message === null) {
    log.error('the endpoint sent a request that does not exist');
    return;
  }
  handle(message).catch((error: unknown) => {
    if ('request' in message) void answer({ kind: 'failed', request: message.request, error: tellError(error) });
    else log.error({ err: error }, 'a port could not be served');
  });
});
process.on('disconnect', () => {
  worker?.stop();
  names.stop();
  process.exit(0);
});
process.on('unhandledRejection', (error) => log.error({ err: error }, 'unhandled rejection'));
