/** The endpoint of a virtual container host: port layer, image service, published ports and the Docker API in one process. */
import { mkdir, readFile, rm } from 'node:fs/promises';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type VchConfig, vchConfigSchema } from '../port-layer/config.js';
import { loadPortLayer, openPortLayer, type PortLayer } from '../port-layer/index.js';
import { invalid, messageOf } from '../src/common/errors.js';
import { startHeartbeatIfAsked } from '../src/common/heartbeat.js';
import { logger } from '../src/common/log.js';
import { ownSpoolDirectory } from '../src/common/paths.js';
import { proxySettings } from '../src/common/proxies.js';
import { standBy } from '../src/common/standby.js';
import { writeWhole } from '../src/common/write-whole.js';
import { Engine } from './docker/engine.js';
import { networkRate } from './docker/networks/egress-rate.js';
import { NamesFeed } from './docker/networks/names-feed.js';
import { RatesFeed } from './docker/networks/rates-feed.js';
import { Policies } from './docker/policy/policies.js';
import { dockerApp, listenDocker } from './docker/server.js';
import {
  counter,
  type Gateway,
  GatewayNetworks,
  gatewayNetworks,
  MachineResolvers,
  nameServers,
  OwnGateway,
  PorterGateway,
  PortMapper,
  porterChannel,
} from './gateway/index.js';
import { openImageService } from './image/index.js';

const log = logger('endpoint');
/** The socket in the channel directory, for clients on the machine that runs the VMs. */
const DOCKER_SOCKET = 'docker.sock';
const CONFIG_KEY = 'guestinfo.caisson.vch';

async function readConfig(): Promise<VchConfig> {
  const path = process.env.CAISSON_GUESTINFO;
  if (path === undefined) throw invalid('CAISSON_GUESTINFO is not set: the endpoint is started by the host it runs on');
  const keys = JSON.parse(await readFile(path, 'utf8')) as Record<string, string>;
  return vchConfigSchema.parse(JSON.parse(keys[CONFIG_KEY] ?? 'null'));
}

/** Tries for a while: vSphere may still be starting. */
async function connect(config: VchConfig): Promise<PortLayer> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await openPortLayer(config);
    } catch (error) {
      if (attempt === 30) throw error;
      log.warn({ err: messageOf(error), attempt }, 'vSphere cannot be reached yet');
      await sleep(Math.min(2000, 100 * attempt));
    }
  }
}

/** @param up called when the API is served */
async function main(up: () => void): Promise<void> {
  const config = await readConfig();
  const portLayer = await connect(config);
  await mkdir(config.channelDir, { recursive: true });
  const images = await openImageService({
    layers: portLayer.layers,
    kv: portLayer.kv,
    registry: config.registry,
    proxies: proxySettings(config.proxies),
    room: portLayer.room,
    spoolDir: join(ownSpoolDirectory(config.id), 'downloads'),
  });
  const porter = porterChannel();
  const serveAgain = (): void => void engine.serveAgain();
  const namesAgain = (): void => void names.again();
  const gateway: Gateway =
    porter === null ? new OwnGateway(serveAgain) : new PorterGateway(porter, serveAgain, namesAgain);
  const nextId = counter();
  const resolvers = new MachineResolvers(() => {
    void served.follow();
    void names.follow();
  });
  const served = new GatewayNetworks(
    gateway,
    {
      // Networks that were made while there was a way out have none now.
      networks: () =>
        portLayer.network.list().map((one) => ({
          ...one,
          egress: config.egress === 'none' ? 'none' : one.egress,
          rate: networkRate(one, config.egressRate),
        })),
      hostPorts: config.hostPorts ?? [],
      resolvers: () => resolvers.list(),
    },
    nextId,
  );
  const names = new NamesFeed({
    gateway,
    exec: portLayer.exec,
    networks: () => portLayer.network.list(),
    servers: () => nameServers(resolvers.list()),
    nextId,
  });
  const rates = new RatesFeed(gateway, portLayer.exec);
  const engine = new Engine(
    portLayer,
    images,
    new PortMapper(gateway, config.publish, nextId),
    config,
    porter === null ? undefined : served,
    porter === null
      ? undefined
      : {
          // Who is told that a container is called otherwise, or is on another network, can rely on its rules too.
          follow: async () => {
            rates.follow();
            await Promise.all([names.follow(), policies.follow()]);
          },
          forwardAgain: () => names.forwardAgain(),
        },
  );
  const policies: Policies = new Policies({
    portLayer,
    gateway,
    events: engine.events,
    resolvers: () => resolvers.list(),
    gatewaySettled: () => served.settled(),
    names: {
      watch: (patterns) => void names.report(patterns ?? []),
      restrict: (allowed) => names.restrict(allowed),
    },
  });
  if (porter !== null)
    engine.usageParts = {
      exec: portLayer.exec,
      gateway,
      networks: () => portLayer.network.list(),
      ownRate: config.egressRate,
    };
  engine.policies = { policies, traceParts: { exec: portLayer.exec, policies, gateway } };
  const ready = (async () => {
    await gateway.start(gatewayNetworks(portLayer.network.list()));
    if (porter !== null) {
      await served.follow();
      rates.follow();
    }
    await policies.open();
    await engine.restorePorts();
  })();
  // Meanwhile: the porter waits for other programs.
  const app = dockerApp(engine);
  await Promise.all([ready, engine.recall()]);
  const places = [...config.listen, { path: join(config.channelDir, DOCKER_SOCKET) }];
  const opened = async (place: (typeof places)[number]): Promise<Server | undefined> =>
    gateway instanceof PorterGateway ? gateway.serve('path' in place ? { socket: true } : place) : undefined;
  const servers = await Promise.all(places.map(async (place) => listenDocker(app, place, await opened(place))));
  const addresses = servers.map((server) => server.address);
  await writeWhole(join(config.channelDir, 'endpoint.json'), JSON.stringify({ pid: process.pid, addresses }));
  log.info({ vch: config.name, addresses }, 'the endpoint is up');
  up();
  void engine.restore();

  const stop = async (): Promise<void> => {
    log.info('the endpoint stops');
    await Promise.all(servers.map((server) => server.close()));
    resolvers.close();
    gateway.stop();
    await engine.close();
    await images.close();
    await portLayer.close();
    // With a porter the host made the directory, and removes it.
    if (porter === null) await rm(ownSpoolDirectory(config.id), { recursive: true, force: true });
    process.exit(0);
  };
  process.once('SIGTERM', () => void stop());
  process.once('SIGINT', () => void stop());
}

await loadPortLayer();
const up = await standBy();
startHeartbeatIfAsked();
process.on('unhandledRejection', (error) => log.error({ err: error }, 'unhandled rejection'));
process.on('uncaughtException', (error) => {
  log.fatal({ err: error }, 'uncaught exception');
  process.exit(1);
});

try {
  await main(up);
} catch (error) {
  log.fatal({ err: error }, 'the endpoint cannot start');
  process.exit(1);
}
