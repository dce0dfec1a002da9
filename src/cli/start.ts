/**
 * `npm start`: makes the machine ready, starts the embedded host, and makes (or finds) its virtual container host. All of it runs
 * on in the background; a second call finds it running and only says how to reach it.
 */

import { existsSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Command, Option } from 'commander';
import { DEFAULT_NETWORK, type VchConfig } from '../../port-layer/config.js';
import { conflict, invalid } from '../common/errors.js';
import { bootImage, DEFAULT_STATE_DIR, type InstancePaths, instancePaths } from '../common/paths.js';
import { SOCKET_GROUP, socketGroup } from '../common/socket-group.js';
import { parseDatastores } from '../hostd/datastore/datastore-places.js';
import { keepDatastores, keptDatastores } from '../hostd/datastore/kept-datastores.js';
import { wantedAcceleration } from '../hostd/qemu/acceleration.js';
import { parseUplink, parseUplinks } from '../hostd/uplinks.js';
import { DEFAULT_WARM_POOL, warmPoolSize } from '../hostd/warm-pool-size.js';
import { say, step } from '../setup/console.js';
import { exitWith, prepareMachine } from '../setup/prepare.js';
import { collect } from './config-file.js';
import { connectHostd } from './connect-hostd.js';
import { dockerHost } from './docker-probe.js';
import { dockerSocket, waitForEndpoint } from './endpoint-wait.js';
import { type GrantOptions, grantOptions, hostGrants } from './host-grants.js';
import {
  endHangingSupervisor,
  hostdHasOption,
  hostdOption,
  hostdOptionList,
  provideSupervisor,
  type RunningHostd,
  runningHostd,
  startHostdProcess,
} from './hostd-process.js';
import { keepUplinks, keptUplinks } from './kept-uplinks.js';
import { checkHostSettings, type NetworkOptions, networkOptions, networkSettings } from './network-options.js';
import { positiveInteger } from './positive-integer.js';
import { type RegistryOptions, registryOptions, registrySettings } from './registry-options.js';
import { type SizeOptions, sizeOptions, sizeSettings } from './size-options.js';
import type { Login } from './target.js';
import {
  createVch,
  grantLogin,
  listVchs,
  powerOnVch,
  provideContainerNetworks,
  provideVolumeStores,
  reconfigureVch,
  separateLogin,
} from './vch.js';
import { keepVchLogin } from './vch-login.js';
import { checkName, parseBridgeRange, parseDockerAddress, plainTcpWarning } from './vch-options.js';
import { type VolumeStoreOptions, volumeStoreOptions, volumeStoreSettings } from './volume-store-options.js';

/** Memory of a machine, in bytes, from which on processes stand by unless the user says otherwise. A machine of 4 GB shows a little less. */
const STANDBY_FROM = 3.5 * 2 ** 30;

interface StartOptions extends GrantOptions, NetworkOptions, RegistryOptions, SizeOptions, VolumeStoreOptions {
  name: string;
  dockerAddress?: string;
  insecureTcp: boolean;
  hostdAddress: string;
  stateDir: string;
  bridgeNetworkRange: string;
  warmPool?: string;
  accel?: string;
  hangAfter?: number;
  standby?: 'on' | 'off';
  uplink: string[];
  datastore: string[];
  foreground: boolean;
}

const program = volumeStoreOptions(
  registryOptions(sizeOptions(networkOptions(grantOptions(new Command('npm start --'))))),
  'as before, at first beside the images',
)
  .description(
    'Sets this machine up, starts the embedded host with a virtual container host, and says how to point docker at it.\nEverything runs on in the background: `npm stop` stops it (containers go on running), `npm stop -- --remove` removes it all.',
  )
  .option('--name <name>', 'name of the virtual container host', 'default')
  .option(
    '--docker-address <host:port|none>',
    'where the Docker API listens besides its unix socket, without TLS: every user of this machine is root in all containers then (default: as before, at first none)',
  )
  .option('--insecure-tcp', 'let --docker-address be one that other machines reach, without TLS', false)
  .option('--hostd-address <host:port>', 'where the embedded vSphere host listens', '127.0.0.1:8989')
  .option('--state-dir <directory>', 'where images and containers are kept', DEFAULT_STATE_DIR)
  .option('--bridge-network-range <cidr>', "addresses of the containers' network", '172.16.0.0/16')
  .option(
    '--warm-pool <n>',
    `virtual machines kept ready for the next containers, which then start faster; each takes about 80 MB; 0: none (default: ${DEFAULT_WARM_POOL})`,
  )
  .option(
    '--accel <kvm|tcg|auto>',
    'what runs the virtual machines: hardware virtualization, emulation, or what works (default: auto)',
  )
  .option(
    '--hang-after <seconds>',
    'the embedded host, or an endpoint, of which nothing is heard for so long is started again (default: 30)',
    positiveInteger('--hang-after'),
  )
  .addOption(
    new Option(
      '--standby <on|off>',
      'keep a second process ready for the embedded host and for the endpoint, which take over when those die; together they take about 120 MB (default: on, off on a machine with less than 4 GB of memory)',
    ).choices(['on', 'off']),
  )
  .option(
    '--uplink <port group=interface|none>',
    "join a port group of the embedded host with one of this machine's network interfaces (may be repeated; default: as before, at first none)",
    collect,
    [],
  )
  .option(
    '--datastore <name=directory>',
    'a further datastore of the embedded host, for --volume-store: a directory of its own (may be repeated; default: as before)',
    collect,
    [],
  )
  .option('--foreground', 'stay in the foreground; interrupt to stop the engine (containers go on running)', false)
  .allowExcessArguments(false);

program.parse();
const options = program.opts<StartOptions>();

try {
  const paths = instancePaths(resolve(options.stateDir));
  checkName(options.name);
  // Whatever is wrong is said before anything is started.
  checkHostSettings(true, networkSettings(options, {}, [bridgeOf(options)]));
  const listen = askedListen(options);
  const bridgeRange = parseBridgeRange(options.bridgeNetworkRange);
  const warmPool = options.warmPool === undefined ? null : String(warmPoolSize(options.warmPool));
  const accel = options.accel === undefined ? null : wantedAcceleration(options.accel);
  await prepareMachine({ tests: false });
  await endHangingSupervisor(paths);
  const running = runningHostd(paths);
  const runningPool = hostdOption(paths, '--warm-pool') ?? String(DEFAULT_WARM_POOL);
  if (running !== null && warmPool !== null && warmPool !== runningPool)
    throw conflict(
      `the embedded host runs with --warm-pool ${runningPool}: npm stop ends it (containers go on running)`,
    );
  const runningAccel = hostdOption(paths, '--accel') ?? 'auto';
  if (running !== null && accel !== null && accel !== runningAccel)
    throw conflict(`the embedded host runs with --accel ${runningAccel}: npm stop ends it (containers go on running)`);
  const runningHang = hostdOption(paths, '--hang-after') ?? '30';
  if (running !== null && options.hangAfter !== undefined && String(options.hangAfter) !== runningHang)
    throw conflict(
      `the embedded host runs with --hang-after ${runningHang}: npm stop ends it (containers go on running)`,
    );
  const runningStandby = hostdHasOption(paths, '--standby') ? 'on' : 'off';
  if (running !== null && options.standby !== undefined && options.standby !== runningStandby)
    throw conflict(
      `the embedded host runs with --standby ${runningStandby}: npm stop ends it (containers go on running)`,
    );
  const asked = parseUplinks(options.uplink);
  for (const uplink of asked ?? []) {
    const { interface: name } = parseUplink(uplink);
    if (!existsSync(`/sys/class/net/${name}`)) throw invalid(`--uplink '${uplink}': there is no interface ${name}`);
  }
  const runningUplinks = hostdOptionList(paths, '--uplink');
  if (running !== null && asked !== null && asked.join(' ') !== runningUplinks.join(' '))
    throw conflict(
      `the embedded host runs with ${runningUplinks.map((one) => `--uplink ${one}`).join(' ') || 'no --uplink'}: npm stop ends it (containers go on running)`,
    );
  const datastores = options.datastore.length > 0 ? options.datastore : keptDatastores(paths);
  parseDatastores(datastores, [paths.stateDir]);
  const runningDatastores = hostdOptionList(paths, '--datastore');
  if (running !== null && options.datastore.length > 0 && datastores.join(' ') !== runningDatastores.join(' '))
    throw conflict(
      `the embedded host runs with ${runningDatastores.map((one) => `--datastore ${one}`).join(' ') || 'no --datastore'}: npm stop ends it (containers go on running)`,
    );
  const hostdOptions = [
    ...(warmPool === null ? [] : ['--warm-pool', warmPool]),
    ...(accel === null ? [] : ['--accel', accel]),
    ...(options.hangAfter === undefined ? [] : ['--hang-after', String(options.hangAfter)]),
    ...(standsBy(options) ? ['--standby'] : []),
    // One whose interface has gone since is joined when it comes back.
    ...(asked ?? keptUplinks(paths)).flatMap((uplink) => ['--uplink', uplink]),
    ...datastores.flatMap((one) => ['--datastore', one]),
  ];
  const hostd =
    running ??
    (await step('Starting the embedded host', (progress) =>
      startHostdProcess(paths, options.hostdAddress, hostdOptions, progress),
    ));
  if (asked !== null) keepUplinks(paths, asked);
  if (options.datastore.length > 0) keepDatastores(paths, datastores);
  provideSupervisor(paths);
  const config = await provideVch(hostd, paths, listen, bridgeRange);
  greet(config, runningHostd(paths) ?? hostd, paths);
  if (options.foreground) await stayInForeground(paths);
} catch (error) {
  exitWith(error);
}

function standsBy({ standby }: StartOptions): boolean {
  return standby === undefined ? totalmem() >= STANDBY_FROM : standby === 'on';
}

/** Makes the virtual container host, or brings an existing one to these options and up. */
async function provideVch(
  login: Login,
  paths: InstancePaths,
  listen: VchConfig['listen'] | null,
  subnet: string,
): Promise<VchConfig> {
  // The running one may hang; its supervisor, which may be new, will notice.
  const client = await connectHostd(paths);
  try {
    const wanted = {
      login: { url: login.url, user: login.user, password: login.password, thumbprint: login.thumbprint },
      ...sizeSettings(options, 32),
    };
    const all = await listVchs(client);
    for (const vch of all) if (vch.name !== options.name) await separateLogin(client, vch, wanted.login);
    const existing = all.find((vch) => vch.name === options.name);
    let config = existing?.config;
    let endpoint = existing?.endpoint;
    const grants = await hostGrants(options, config);
    const registry = registrySettings(options, config?.registry);
    const settings = networkSettings(options, config, [bridgeOf(options)]);
    const stores = await provideVolumeStores(client, volumeStoreSettings(options, config));
    if (existing === undefined || config === undefined) {
      config = await step(`Creating the virtual container host "${options.name}"`, async (progress) => {
        const vch = await createVch(
          client,
          {
            ...wanted,
            ...grants,
            registry,
            ...stores,
            settings,
            listen: listen ?? [],
            name: options.name,
            imageStore: { datastore: 'datastore1', path: '' },
            networks: [{ name: DEFAULT_NETWORK, portGroup: bridgeOf(options), subnet }],
            channelDir: join(paths.runDir, 'vch', options.name),
          },
          progress,
        );
        endpoint = vch.endpoint;
        return vch.config;
      });
    } else {
      const changed: VchConfig = {
        ...withoutOptions(config),
        ...grants,
        ...settings,
        ...stores,
        target: await keepVchLogin(client, config.id, config.target, wanted.login),
        listen: listen === null ? config.listen : kept(config.listen, listen),
        registry,
        container: wanted.container,
        storage: wanted.storage,
      };
      await provideContainerNetworks(client, changed.containerNetworks);
      await grantLogin(client, changed, existing.endpoint);
      if (isDeepStrictEqual(changed, config)) await powerOnVch(client, existing);
      else
        await step(`Reconfiguring the virtual container host "${options.name}"`, () =>
          reconfigureVch(client, existing, changed),
        );
      config = changed;
    }
    if (endpoint !== undefined) {
      const [waited, known] = [endpoint, config];
      await step('Waiting for the Docker API', (progress) => waitForEndpoint(paths, known, waited, progress));
    }
    return config;
  } finally {
    await client.close();
  }
}

/** The port group of a virtual container host's default network. */
function bridgeOf({ name }: Pick<StartOptions, 'name'>): string {
  return `${name}-bridge`;
}

/** Without what follows from options whose value is kept. */
function withoutOptions({
  syslog: _syslog,
  publish: _publish,
  egress: _egress,
  egressRate: _egressRate,
  hostPorts: _hostPorts,
  addressPools: _addressPools,
  allowNetworkCreate: _allowNetworkCreate,
  networkVlans: _networkVlans,
  proxies: _proxies,
  containerNetworks: _containerNetworks,
  ...rest
}: VchConfig): Omit<VchConfig, keyof ReturnType<typeof networkSettings> | 'syslog' | 'publish'> {
  return rest;
}

/** What `--docker-address` asks for; null if it was not given and the present address stays. @throws invalid */
function askedListen({ dockerAddress, insecureTcp }: StartOptions): VchConfig['listen'] | null {
  if (dockerAddress === undefined) return null;
  if (dockerAddress === 'none') return [];
  const address = parseDockerAddress(dockerAddress);
  plainTcpWarning(address, insecureTcp);
  return [address];
}

/** An address that is already served stays as it is, with its TLS. */
function kept(before: VchConfig['listen'], asked: VchConfig['listen']): VchConfig['listen'] {
  return asked.map((one) => before.find(({ host, port }) => host === one.host && port === one.port) ?? one);
}

function greet(config: VchConfig, hostd: RunningHostd, paths: InstancePaths): void {
  const example = config.registry.mirrors.length > 0 ? 'busybox' : 'REGISTRY/busybox';
  const socket = `unix://${dockerSocket(config)}`;
  say('');
  say(`The virtual container host "${config.name}" is up. Each container is a virtual machine. Point docker at it:`);
  say('');
  say(`  export DOCKER_HOST=${socket}`);
  say(`  docker run --rm ${example} echo hello`);
  say('');
  say(`or for good: docker context create caisson --docker host=${socket} && docker context use caisson`);
  if (socketGroup() !== null) {
    const user = process.env.SUDO_USER ?? 'USER';
    say(`Users other than root have to be in the group "${SOCKET_GROUP}", whose members are root in all containers:`);
    say(`  usermod -aG ${SOCKET_GROUP} ${user === 'root' ? 'USER' : user}     (and log in anew)`);
  }
  for (const listen of config.listen) {
    say(`Also: DOCKER_HOST=${dockerHost(listen)} (there the docker CLI does not come back from ctrl-p ctrl-q)`);
    if (listen.tls === undefined) {
      say(plainTcpWarning(listen, true));
      say('  npm start -- --docker-address none ends that.');
    }
  }
  say(`vSphere API: ${hostd.url} (user and password in ${paths.credentialsFile}); kernel: ${bootImage().kernel}`);
  if (hostd.acceleration !== undefined) say(`Acceleration of the virtual machines: ${hostd.acceleration}.`);
  say('npm stop stops the engine; containers go on running. npm stop -- --remove removes everything.');
}

/** Waits for an interrupt, then stops the engine. */
async function stayInForeground(paths: InstancePaths): Promise<void> {
  const { stopEngine } = await import('./stop-engine.js');
  say('\nIn the foreground: Ctrl-C stops the engine.');
  const timer = setInterval(() => undefined, 1 << 30);
  await new Promise((interrupted) => {
    process.once('SIGINT', interrupted);
    process.once('SIGTERM', interrupted);
  });
  clearInterval(timer);
  await stopEngine(paths);
}
