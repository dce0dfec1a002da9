/**
 * The porter of an endpoint: the only process of a virtual container host that runs as root. hostd starts it with the endpoint and connects
 * the two by a Node channel, over which open sockets are passed. It listens for the endpoint (its unix socket, low ports), sets up the
 * network namespace where the containers are, and starts the relay. It does nothing else, and ends with the endpoint.
 *
 * The endpoint is not trusted: what it says is checked here, and is never a path or a command.
 */
import type { Server } from 'node:net';
import { invalid } from '../common/errors.js';
import { startHeartbeatIfAsked } from '../common/heartbeat.js';
import { logger } from '../common/log.js';
import { identify } from '../common/process-id.js';
import { socketGroup } from '../common/socket-group.js';
import { standBy } from '../common/standby.js';
import { watchOver } from '../common/watchdog.js';
import { bindSocket, bindTcp } from './binding.js';
import { NamespaceGateway } from './gateway.js';
import { checkEgress, checkForward, checkPublished, thisMachine } from './grants.js';
import { type GatewayNetwork, type PorterAnswer, type PorterRequest, tellError } from './messages.js';
import { NamesProcess } from './names-process.js';
import { parseRequest, requestNumber } from './parse-request.js';
import { GatewayTable } from './policy-table.js';
import { type ChildWatch, PORTER_SETUP, type PorterSetup } from './setup.js';
import type { WorkerWatch } from './worker-watch.js';

const log = logger('porter');
const setup = JSON.parse(process.env[PORTER_SETUP] ?? '') as PorterSetup;
delete process.env[PORTER_SETUP];
await standBy();
startHeartbeatIfAsked();

/** The endpoint has said what its networks are; it expects no news before. */
let begun = false;
let namesReady = false;
const policies = new GatewayTable(setup.netns);
const names = new NamesProcess(
  setup.names,
  {
    ready: () => {
      namesReady = true;
      tellAgain('names');
    },
    report: (id, told) => void answer({ kind: 'report', id, answer: told }),
    refused: (lookups) => void answer({ kind: 'refused', lookups }),
  },
  watchFor(setup.namesWatch),
);

const gateway = new NamespaceGateway(setup.netns, setup.relay, () => tellAgain('relay'), watchFor(setup.watch));
// Both are started while the endpoint is loaded, which takes longer.
names.start();
// If it fails, the endpoint is told when it asks for the gateway.
gateway.prepare().catch(() => undefined);

function tellAgain(of: 'relay' | 'names'): void {
  if (begun) void answer({ kind: 'again', of });
}

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

/** Only an endpoint that can no longer be trusted would ask for a second. */
async function startGateway(networks: readonly GatewayNetwork[]): Promise<void> {
  if (begun) throw invalid('the gateway is there already');
  begun = true;
  // Nobody waits for the server of names: the endpoint is told when it listens.
  if (namesReady) tellAgain('names');
  await gateway.start(networks);
}

/** @throws invalid before there is one */
function theGateway(): NamespaceGateway {
  if (!begun) throw invalid('there is no gateway');
  return gateway;
}

async function forward({ id, protocol, inner, outer }: PorterRequest & { kind: 'forward' }): Promise<number> {
  const own = theGateway().addresses();
  checkForward(setup, inner, outer, own, thisMachine());
  if (own.includes(inner.address)) await theGateway().openService(protocol, inner.port);
  return theGateway().relay.forward(id, protocol, inner, outer);
}

async function handle(message: PorterRequest): Promise<void> {
  switch (message.kind) {
    case 'serve':
      return serve(message.request, message.place);
    case 'gateway':
      await startGateway(message.networks);
      return answer({ kind: 'done', request: message.request });
    case 'publish': {
      const { request, id, protocol, host, port } = message;
      checkPublished(setup, host, port);
      return answer({ kind: 'done', request, port: await theGateway().relay.publish(id, protocol, host, port) });
    }
    case 'network':
      checkEgress(setup, message);
      await theGateway().network(message);
      return answer({ kind: 'done', request: message.request });
    case 'network-gone':
      await theGateway().networkGone(message.interface);
      return answer({ kind: 'done', request: message.request });
    case 'forward':
      return answer({ kind: 'done', request: message.request, port: await forward(message) });
    case 'counters':
      return answer({ kind: 'done', request: message.request, counters: await theGateway().relay.counters() });
    case 'policy':
      await policies.set(message.policy);
      return answer({ kind: 'done', request: message.request });
    case 'policy-counts':
      return answer({
        kind: 'done',
        request: message.request,
        policy: { counts: Object.fromEntries(await policies.counts()) },
      });
    case 'policy-trace': {
      if (message.packet !== null) await policies.beginTrace(message.packet);
      const trace = message.packet === null ? { trace: await policies.endTrace() } : {};
      return answer({ kind: 'done', request: message.request, policy: trace });
    }
    case 'names':
      await names.change(message.change);
      return answer({ kind: 'done', request: message.request });
    case 'reported':
      names.reported(message.id);
      return;
    case 'target':
      gateway.relay.target(message.id, message.address, message.port);
      return;
    case 'rate':
      gateway.rate(message.address, message.rate);
      return;
    case 'forget':
      await gateway.forget(message.address);
      return;
    case 'close':
      gateway.relay.close(message.id);
      return;
  }
}

process.on('message', (raw, socket) => {
  // The endpoint has no socket to pass.
  (socket as { close?(): void } | undefined)?.close?.();
  const message = parseRequest(raw);
  if (message === null) {
    log.error('the endpoint sent a request that does not exist');
    const request = requestNumber(raw);
    if (request !== null)
      void answer({ kind: 'failed', request, error: tellError(invalid('the porter knows no such request')) });
    return;
  }
  handle(message).catch((error: unknown) => {
    if ('request' in message) void answer({ kind: 'failed', request: message.request, error: tellError(error) });
    else log.error({ err: error, kind: message.kind }, 'the gateway could not do what it was told');
  });
});
process.on('disconnect', () => {
  policies.close();
  gateway.relay.stop();
  names.stop();
  process.exit(0);
});
process.on('unhandledRejection', (error) => log.error({ err: error }, 'unhandled rejection'));
