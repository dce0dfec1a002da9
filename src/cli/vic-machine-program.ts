/** vic-machine: creates, lists, inspects and deletes virtual container hosts on a vSphere target (or the embedded host). */

import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { DEFAULT_NETWORK, type ListenConfig } from '../../port-layer/config.js';
import { invalid, messageOf } from '../common/errors.js';
import { DEFAULT_STATE_DIR, instancePaths } from '../common/paths.js';
import { secretArguments } from '../setup/hide-arguments.mjs';
import type { VimClient } from '../vim25/index.js';
import { backupCommands } from './backup/backup-commands.js';
import { makeCertificates } from './certificates.js';
import { applyConfigFile } from './config-file.js';
import { configureCommand } from './configure-command.js';
import { dockerHost, waitForDocker } from './docker-probe.js';
import { dockerSocket } from './endpoint-wait.js';
import { fsckCommand } from './fsck-command.js';
import { type GrantOptions, grantOptions, hostGrants } from './host-grants.js';
import { type NetworkOptions, networkOptions, networkSettings } from './network-options.js';
import { PASSWORD_VARIABLE, SEEN_WARNING } from './password.js';
import { policyCommands } from './policy-commands.js';
import { positiveInteger } from './positive-integer.js';
import { registryOptions, registrySettings } from './registry-options.js';
import { sizeOptions, sizeSettings } from './size-options.js';
import { connectTarget, type Login, parseTarget, resolveLogin, type TargetOptions } from './target.js';
import { createVch, deleteVch, findVch, listVchs, type Vch } from './vch.js';
import {
  type CreateOptions,
  checkName,
  parseBridgeRange,
  parseDockerAddress,
  parseImageStore,
  parseOpsUser,
  plainTcpWarning,
  tlsMode,
} from './vch-options.js';
import { volumeCommands } from './volume-commands.js';
import { type VolumeStoreOptions, volumeStoreOptions, volumeStoreSettings } from './volume-store-options.js';

const VERSION = (
  JSON.parse(readFileSync(fileURLToPath(new URL('../../../package.json', import.meta.url)), 'utf8')) as {
    version: string;
  }
).version;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function progress(line: string): void {
  process.stderr.write(`→ ${line}\n`);
}

/** Options of every command that talks to a target. */
function targetCommand(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option('--target <[user[:password]@]host[:port][/datacenter]>', 'vSphere host to work on (required)')
    .option('--user <name>', 'vSphere user')
    .option('--password-file <file>', 'its password is the first line of this file; -: of standard input')
    .option(
      '--password <password>',
      `its password; others can see it there: better ${PASSWORD_VARIABLE} in the environment, --password-file, or at the terminal, which is asked without any`,
    )
    .option('--thumbprint <AB:CD:…>', "SHA-1 thumbprint of the target's certificate")
    .option('--config <file.yaml>', 'read options from a YAML file, by their long names');
}

/** Reads the configuration file, checks what is required, logs in, and closes the session afterwards. */
async function withTarget(
  command: Command,
  required: string[],
  body: (client: VimClient, login: Login) => Promise<void>,
): Promise<void> {
  if (secretArguments(process.argv).length > 0) process.stderr.write(`${SEEN_WARNING}\n`);
  applyConfigFile(command);
  for (const option of ['target', ...required]) {
    const declared = command.options.find((candidate) => candidate.long === `--${option}`);
    if (declared === undefined || command.getOptionValue(declared.attributeName()) === undefined) {
      throw invalid(`--${option} must be specified (see 'vic-machine ${command.name()} --help')`);
    }
  }
  const login = await resolveLogin(command.opts<TargetOptions>());
  const client = await connectTarget(login);
  try {
    await body(client, login);
  } finally {
    await client.close();
  }
}

/** Makes certificates if asked to, writes the client's files, and returns the listener's part. */
async function tlsFor(
  options: CreateOptions,
  host: string,
): Promise<{
  tls: ListenConfig['tls'];
  directory: string | null;
  identity: { ca: string; cert: string; key: string } | undefined;
}> {
  const mode = tlsMode(options);
  if (mode === 'none') return { tls: undefined, directory: null, identity: undefined };
  const names = ['localhost', '127.0.0.1', ...(host === '0.0.0.0' || host === '::' ? [] : [host])];
  const made = await makeCertificates(options.tlsCname ?? options.name, names, options.organization);
  const directory = resolve(options.tlsCertPath ?? options.name);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const files: Record<string, string> = {
    'ca.pem': made.ca,
    'ca-key.pem': made.caKey,
    'server-cert.pem': made.serverCert,
    'server-key.pem': made.serverKey,
  };
  if (mode === 'mutual') Object.assign(files, { 'cert.pem': made.clientCert, 'key.pem': made.clientKey });
  for (const [name, text] of Object.entries(files)) {
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o600 });
    chmodSync(path, name.endsWith('key.pem') ? 0o600 : 0o644);
  }
  const tls = { cert: made.serverCert, key: made.serverKey, ...(mode === 'mutual' ? { clientCa: made.ca } : {}) };
  return { tls, directory, identity: { ca: made.ca, cert: made.clientCert, key: made.clientKey } };
}

/** What a docker CLI needs in its environment to reach the host. */
function dockerEnvironment(listen: ListenConfig, certificates: string | null): string[] {
  const lines = [`DOCKER_HOST=${dockerHost(listen)}`];
  if (listen.tls?.clientCa !== undefined)
    lines.unshift(
      'DOCKER_TLS_VERIFY=1',
      `DOCKER_CERT_PATH=${certificates ?? '<directory with ca.pem, cert.pem and key.pem>'}`,
    );
  return lines;
}

function connectCommand(listen: ListenConfig, certificates: string | null): string {
  const [, , address] = dockerHost(listen).split('/');
  if (listen.tls === undefined) return `docker -H ${address} info`;
  if (listen.tls.clientCa === undefined)
    return `docker -H ${address} --tls --tlscacert=${certificates ?? '<directory>'}/ca.pem info`;
  const directory = certificates ?? '<directory>';
  return `docker -H ${address} --tlsverify --tlscacert=${directory}/ca.pem --tlscert=${directory}/cert.pem --tlskey=${directory}/key.pem info`;
}

/** Where the Docker API is on the machine of the embedded host. */
function localHost(vch: Vch): string {
  return `unix://${dockerSocket(vch.config)}`;
}

function describe(vch: Vch, certificates: string | null): void {
  say(`VCH ID: ${vch.id}`);
  say(`VCH name: ${vch.name}`);
  say(`Power state: ${vch.powerState}`);
  if (vch.config.listen.length === 0) {
    say('');
    say('Docker environment variables:');
    say(`export DOCKER_HOST=${localHost(vch)}`);
  }
  for (const listen of vch.config.listen) {
    say('');
    say('Docker environment variables:');
    for (const line of dockerEnvironment(listen, certificates)) say(`export ${line}`);
    say('');
    say('Connect to docker:');
    say(connectCommand(listen, certificates));
  }
}

const program = new Command('vic-machine')
  .description('Creates and manages virtual container hosts')
  .version(VERSION)
  .showHelpAfterError()
  .exitOverride();

volumeStoreOptions(
  registryOptions(
    sizeOptions(networkOptions(grantOptions(targetCommand(program, 'create', 'create a virtual container host')))),
  ),
  'beside the images',
)
  .option('--force', "accept the target's certificate whatever it is")
  .option('--name <name>', 'name of the virtual container host, at most 31 characters (required)')
  .option('--image-store <[ds://]datastore[/path]>', 'where images and containers are kept (required)')
  .option('--bridge-network <port group>', "port group for the containers' own network (required)")
  .option('--bridge-network-range <cidr>', 'its IPv4 addresses', '172.16.0.0/16')
  .option('--compute-resource <name>', 'host or cluster, where there are several')
  .option('--docker-address <host:port>', 'where the Docker API listens (default 127.0.0.1:2376; 2375 with --no-tls)')
  .option('--no-tls', 'plain HTTP: whoever reaches the address is root in all containers')
  .option('--no-tlsverify', 'TLS, but any client may connect')
  .option('--tls-cname <name>', 'host name or address for generated certificates; clients must show theirs')
  .option('--tls-cert-path <directory>', 'where generated certificates are written (default ./<name>)')
  .option('--organization <name>', 'organisation in generated certificates', 'Caisson')
  .option('--base-image-size <GiB>', "size of a container's disk", positiveInteger('--base-image-size'), 32)
  .option('--channel-dir <directory>', "directory of channel sockets on the embedded host's machine")
  .option(
    '--ops-user <name>',
    'vSphere user that the endpoint works with (default: one made for it; the given one on a vCenter)',
  )
  .option('--ops-password <password>', 'its password; better: VIC_MACHINE_OPS_PASSWORD in the environment')
  .option('--ops-grant-perms', 'set the permissions that the ops user needs')
  .option('--timeout <seconds>', 'time to wait for the Docker API', positiveInteger('--timeout'), 180)
  .action(async (_options, command: Command) => {
    await withTarget(command, ['name', 'image-store', 'bridge-network'], async (client, login) => {
      const options = command.opts<
        CreateOptions & TargetOptions & GrantOptions & NetworkOptions & VolumeStoreOptions
      >();
      const name = checkName(options.name);
      const mode = tlsMode(options);
      const address = parseDockerAddress(
        options.dockerAddress ?? (mode === 'none' ? '127.0.0.1:2375' : '127.0.0.1:2376'),
      );
      if (mode === 'none') progress(plainTcpWarning(address, true));
      const registry = registrySettings(options);
      const grants = await hostGrants(options);
      const settings = networkSettings(options, {}, [options.bridgeNetwork]);
      const opsUser = parseOpsUser(options);
      const imageStore = parseImageStore(options.imageStore);
      const subnet = parseBridgeRange(options.bridgeNetworkRange);
      const { tls, directory, identity } = await tlsFor(options, address.host);
      const datacenter = parseTarget(options.target).datacenter;
      const listen = { ...address, ...(tls === undefined ? {} : { tls }) };
      const vch = await createVch(
        client,
        {
          name,
          login,
          ...(opsUser === undefined ? {} : { opsUser }),
          ...(datacenter === undefined ? {} : { datacenter }),
          imageStore,
          ...(options.computeResource === undefined ? {} : { computeResource: options.computeResource }),
          networks: [{ name: DEFAULT_NETWORK, portGroup: options.bridgeNetwork, subnet }],
          listen: [listen],
          registry,
          ...volumeStoreSettings(options),
          ...sizeSettings(options, options.baseImageSize),
          ...grants,
          settings,
          channelDir: options.channelDir ?? join(instancePaths(DEFAULT_STATE_DIR).runDir, 'vch', name),
        },
        progress,
      );
      progress('Waiting for the Docker API');
      await waitForDocker(listen, options.timeout * 1000, identity);
      progress('Installation completed successfully');
      describe(vch, directory);
    });
  });

targetCommand(program, 'ls', 'list virtual container hosts')
  .option('--force', "accept the target's certificate whatever it is")
  .action(async (_options, command: Command) => {
    await withTarget(command, [], async (client) => {
      const rows = [['ID', 'NAME', 'POWER STATE', 'DOCKER HOST']];
      for (const vch of await listVchs(client))
        rows.push([vch.id, vch.name, vch.powerState, vch.config.listen.map(dockerHost).join(' ') || localHost(vch)]);
      const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
      for (const row of rows)
        say(
          row
            .map((cell, column) => cell.padEnd(widths[column]!))
            .join('  ')
            .trimEnd(),
        );
    });
  });

targetCommand(program, 'inspect', 'show a virtual container host and how to reach it')
  .option('--force', "accept the target's certificate whatever it is")
  .option('--name <name>', 'its name')
  .option('--id <id>', 'or its id')
  .option('--tls-cert-path <directory>', 'directory of its certificates, for the printed commands')
  .action(async (_options, command: Command) => {
    await withTarget(command, [], async (client) => {
      const options = command.opts<{ name?: string; id?: string; tlsCertPath?: string }>();
      if (options.name === undefined && options.id === undefined) throw invalid('--name or --id must be specified');
      describe(await findVch(client, options), options.tlsCertPath === undefined ? null : resolve(options.tlsCertPath));
    });
  });

targetCommand(program, 'delete', 'remove a virtual container host, its containers and images')
  .option('--force', "remove running containers too; accept the target's certificate whatever it is")
  .option('--name <name>', 'its name')
  .option('--id <id>', 'or its id')
  .action(async (_options, command: Command) => {
    await withTarget(command, [], async (client) => {
      const options = command.opts<{ name?: string; id?: string; force?: boolean }>();
      if (options.name === undefined && options.id === undefined) throw invalid('--name or --id must be specified');
      await deleteVch(client, await findVch(client, options), { force: options.force === true }, progress);
      progress('Completed successfully');
    });
  });

fsckCommand(program, say);

const parts = { targetCommand, withTarget, say };
configureCommand(program, parts, progress);
policyCommands(program, parts);
volumeCommands(program, parts);
backupCommands(program, parts, VERSION);

program
  .command('version')
  .description('show the version')
  .action(() => say(`vic-machine version ${VERSION}`));

try {
  await program.parseAsync();
} catch (error) {
  const code = (error as { code?: unknown }).code;
  if (typeof code === 'string' && code.startsWith('commander.')) {
    process.exit((error as { exitCode?: number }).exitCode ?? 1);
  }
  process.stderr.write(`\nvic-machine ${process.argv[2] ?? ''} failed: ${messageOf(error)}\n`);
  if (process.env.CAISSON_DEBUG !== undefined && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  process.exit(1);
}
