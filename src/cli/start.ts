/**
 * `npm start`: makes the machine ready, starts the embedded host, and makes (or finds) its virtual container host. All of it runs
 * on in the background; a second call finds it running and only says how to reach it.
 */

import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Command } from 'commander';
import type { VchConfig } from '../../port-layer/config.js';
import { conflict } from '../common/errors.js';
import { bootImage, DEFAULT_STATE_DIR, type InstancePaths, instancePaths } from '../common/paths.js';
import { wantedAcceleration } from '../hostd/qemu/acceleration.js';
import { DEFAULT_WARM_POOL, warmPoolSize } from '../hostd/warm-pool-size.js';
import { say, step } from '../setup/console.js';
import { exitWith, prepareMachine } from '../setup/prepare.js';
import { VimClient } from '../vim25/index.js';
import { collect } from './config-file.js';
import { dockerHost } from './docker-probe.js';
import { waitForEndpoint } from './endpoint-wait.js';
import { hostdOption, type RunningHostd, runningHostd, startHostdProcess } from './hostd-process.js';
import type { Login } from './target.js';
import { createVch, listVchs, powerOnVch, reconfigureVch } from './vch.js';
import { checkName, parseBridgeRange, parseDockerAddress, positiveInteger } from './vch-options.js';

interface StartOptions {
  name: string;
  dockerAddress: string;
  hostdAddress: string;
  stateDir: string;
  registryMirror: string[];
  insecureRegistry: string[];
  containerCpus: number;
  containerMemory: number;
  bridgeNetworkRange: string;
  warmPool?: string;
  accel?: string;
  foreground: boolean;
}

const program = new Command('npm start --')
  .description(
    'Sets this machine up, starts the embedded host with a virtual container host, and says how to point docker at it.\nEverything runs on in the background: `npm stop` stops it (containers go on running), `npm stop -- --remove` removes it all.',
  )
  .option('--name <name>', 'name of the virtual container host', 'default')
  .option(
    '--docker-address <host:port>',
    'where the Docker API listens; anyone who can connect has full use of it',
    '127.0.0.1:2375',
  )
  .option('--hostd-address <host:port>', 'where the embedded vSphere host listens', '127.0.0.1:8989')
  .option('--state-dir <directory>', 'where images and containers are kept', DEFAULT_STATE_DIR)
  .option(
    '--registry-mirror <url>',
    'try this registry first for plain image names such as busybox (may be repeated)',
    collect,
    [],
  )
  .option(
    '--insecure-registry <host[:port]>',
    'registry that may be spoken to without TLS (may be repeated)',
    collect,
    [],
  )
  .option(
    '--container-cpus <n>',
    'virtual CPUs of a container that asks for none',
    positiveInteger('--container-cpus'),
    2,
  )
  .option(
    '--container-memory <MiB>',
    'memory of a container that asks for none',
    positiveInteger('--container-memory'),
    2048,
  )
  .option('--bridge-network-range <cidr>', "addresses of the containers' network", '172.16.0.0/16')
  .option(
    '--warm-pool <n>',
    `virtual machines kept ready for the next containers, which then start faster; each takes about 80 MB; 0: none (default: ${DEFAULT_WARM_POOL})`,
  )
  .option(
    '--accel <kvm|tcg|auto>',
    'what runs the virtual machines: hardware virtualization, emulation, or what works (default: auto)',
  )
  .option('--foreground', 'stay in the foreground; interrupt to stop the engine (containers go on running)', false)
  .allowExcessArguments(false);

program.parse();
const options = program.opts<StartOptions>();

try {
  const paths = instancePaths(resolve(options.stateDir));
  checkName(options.name);
  const address = parseDockerAddress(options.dockerAddress);
  const bridgeRange = parseBridgeRange(options.bridgeNetworkRange);
  const warmPool = options.warmPool === undefined ? null : String(warmPoolSize(options.warmPool));
  const accel = options.accel === undefined ? null : wantedAcceleration(options.accel);
  await prepareMachine({ tests: false });
  const running = runningHostd(paths);
  const runningPool = hostdOption(paths, '--warm-pool') ?? String(DEFAULT_WARM_POOL);
  if (running !== null && warmPool !== null && warmPool !== runningPool)
    throw conflict(
      `the embedded host runs with --warm-pool ${runningPool}: npm stop ends it (containers go on running)`,
    );
  const runningAccel = hostdOption(paths, '--accel') ?? 'auto';
  if (running !== null && accel !== null && accel !== runningAccel)
    throw conflict(`the embedded host runs with --accel ${runningAccel}: npm stop ends it (containers go on running)`);
  const hostdOptions = [
    ...(warmPool === null ? [] : ['--warm-pool', warmPool]),
    ...(accel === null ? [] : ['--accel', accel]),
  ];
  const hostd =
    running ??
    (await step('Starting the embedded host', (progress) =>
      startHostdProcess(paths, options.hostdAddress, hostdOptions, progress),
    ));
  const config = await provideVch(hostd, paths, address, bridgeRange);
  greet(config, hostd, paths);
  if (options.foreground) await stayInForeground(paths);
} catch (error) {
  exitWith(error);
}

/** Makes the virtual container host, or brings an existing one to these options and up. */
async function provideVch(
  login: Login,
  paths: InstancePaths,
  address: { host: string; port: number },
  subnet: string,
): Promise<VchConfig> {
  const client = await VimClient.connect(login);
  try {
    const wanted = {
      login: { url: login.url, user: login.user, password: login.password, thumbprint: login.thumbprint },
      listen: [address],
      registry: { mirrors: options.registryMirror, insecure: options.insecureRegistry, certificateAuthorities: [] },
      container: { cpus: options.containerCpus, memoryMiB: options.containerMemory, baseImageSizeGiB: 32 },
    };
    const existing = (await listVchs(client)).find((vch) => vch.name === options.name);
    let config = existing?.config;
    let endpoint = existing?.endpoint;
    if (existing === undefined || config === undefined) {
      config = await step(`Creating the virtual container host "${options.name}"`, async (progress) => {
        const vch = await createVch(
          client,
          {
            ...wanted,
            name: options.name,
            imageStore: { datastore: 'datastore1', path: '' },
            bridge: { portGroup: `${options.name}-bridge`, subnet },
            channelDir: join(paths.runDir, 'vch', options.name),
          },
          progress,
        );
        endpoint = vch.endpoint;
        return vch.config;
      });
    } else {
      const changed: VchConfig = {
        ...config,
        target: wanted.login,
        listen: wanted.listen,
        registry: wanted.registry,
        container: wanted.container,
      };
      if (isDeepStrictEqual(changed, config)) await powerOnVch(client, existing);
      else
        await step(`Reconfiguring the virtual container host "${options.name}"`, () =>
          reconfigureVch(client, existing, changed),
        );
      config = changed;
    }
    const [listen] = config.listen;
    if (listen !== undefined && endpoint !== undefined) {
      const waited = endpoint;
      await step('Waiting for the Docker API', (progress) =>
        waitForEndpoint(paths, options.name, waited, listen, progress),
      );
    }
    return config;
  } finally {
    await client.close();
  }
}

function greet(config: VchConfig, hostd: RunningHostd, paths: InstancePaths): void {
  const example = config.registry.mirrors.length > 0 ? 'busybox' : 'REGISTRY/busybox';
  say('');
  say(`The virtual container host "${config.name}" is up. Each container is a virtual machine. Point docker at it:`);
  say('');
  say(`  export DOCKER_HOST=unix://${join(config.channelDir, 'docker.sock')}`);
  say(`  docker run --rm ${example} echo hello`);
  say('');
  for (const listen of config.listen)
    say(
      `Users other than root: DOCKER_HOST=${dockerHost(listen)} (there the docker CLI does not come back from ctrl-p ctrl-q)`,
    );
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
