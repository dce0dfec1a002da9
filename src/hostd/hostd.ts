/**
 * The embedded vSphere host: answers vim25 over HTTPS for one machine, keeps VMs as .vmx files in a datastore directory, and runs
 * them through a {@link VmRuntime}. Knows nothing of containers.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { chmod, chown, mkdir, readFile, rm } from 'node:fs/promises';
import { EMBEDDED_VENDOR } from '../common/embedded-host.js';
import { conflict, messageOf } from '../common/errors.js';
import { logger } from '../common/log.js';
import type { InstancePaths } from '../common/paths.js';
import { identify } from '../common/process-id.js';
import { writeWhole } from '../common/write-whole.js';
import type { AboutInfo } from '../vim25/server.js';
import { Accounts } from './access/accounts.js';
import { Authority } from './access/authority.js';
import { Holdings } from './access/holdings.js';
import { datastorePlaces, openDatastore } from './datastore/datastore-places.js';
import { removeUnfinished } from './datastore/unfinished-machines.js';
import type { RunsMachines } from './inventory/host/runs-machines.js';
import { type HostSwitch, Inventory } from './inventory/inventory.js';
import type { VmRuntime } from './runtime.js';
import { hostCertificate } from './server/certificate.js';
import { type AnswerFile, FileSocket } from './server/file-socket.js';
import { removeLeftUploads } from './server/uploads.js';
import { answerFile, VimServer } from './server/vim-server.js';
import { AuthorizationManager } from './services/authorization-manager.js';
import { HostLocalAccountManager } from './services/host-local-account-manager.js';
import { ServiceInstance } from './services/service-instance.js';
import { defaultCollector } from './services/sessions/session.js';
import { SessionManager } from './services/sessions/session-manager.js';
import { isEndpoint } from './vm/machine.js';

const log = logger('hostd');

/** A running embedded host. */
export interface Hostd {
  url: string;
  thumbprint: string;
  user: string;
  password: string;
  /** Stops serving; VMs keep running. */
  close(): Promise<void>;
}

/** What the embedded host says about itself. */
function aboutInfo(instanceUuid: string): AboutInfo {
  return {
    name: 'Caisson embedded host',
    fullName: 'Caisson embedded host 7.0.3 (vSphere API)',
    vendor: EMBEDDED_VENDOR,
    version: '7.0.3',
    build: '1',
    localeVersion: 'INTL',
    localeBuild: '000',
    osType: 'linux-x64',
    productLineId: 'embeddedEsx',
    apiType: 'HostAgent',
    apiVersion: '7.0',
    instanceUuid,
    licenseProductName: 'Caisson embedded host',
    licenseProductVersion: '7.0',
  };
}

/**
 * Starts hostd on a state directory.
 * @throws conflict if another one is running on it
 */
export async function startHostd(options: {
  paths: InstancePaths;
  runtime: VmRuntime;
  virtualSwitch: HostSwitch | null;
  listen: { host: string; port: number };
  runs?: RunsMachines;
  /** Memory that each user's open objects may take. */
  userBytes?: number;
}): Promise<Hostd> {
  const { paths, runtime, virtualSwitch, runs } = options;
  await mkdir(paths.datastoreDir, { recursive: true, mode: 0o711 });
  await chmod(paths.stateDir, 0o711);
  // hostd opens disks here as root, so nobody else may enter.
  await chown(paths.datastoreDir, 0, 0);
  await chmod(paths.datastoreDir, 0o700);
  for (const place of paths.moreDatastores ?? []) await openDatastore(place);
  await refuseTwice(paths);
  const credentials = await loadCredentials(paths);
  const certificate = await hostCertificate(paths.stateDir);
  const about = aboutInfo(credentials.instanceUuid);
  const inventory = new Inventory(paths, runtime, virtualSwitch, about, runs);
  inventory.registry.add(new ServiceInstance(about));
  inventory.registry.add(defaultCollector());
  const accounts = new Accounts(paths.accessFile, credentials.user);
  await accounts.load();
  // Something that a client waits for may have become visible or invisible.
  accounts.onChange = () => inventory.registry.notify();
  const authority = new Authority(
    accounts,
    credentials.user,
    inventory.registry,
    isEndpoint,
    (vch) => inventory.machines.poolOf(vch),
    new Holdings(options.userBytes),
  );
  inventory.registry.on('removed', ({ ref }) => accounts.entityRemoved(ref));
  inventory.registry.add(new AuthorizationManager(authority, inventory.registry));
  const sessions = inventory.registry.add(
    new SessionManager(inventory.registry, inventory.events, credentials, authority),
  );
  inventory.registry.add(new HostLocalAccountManager(accounts, (user) => sessions.endAllOf(user)));
  await inventory.load();
  const files = await listenForFiles(paths, (request, response, known) =>
    answerFile(inventory, sessions, request, response, known),
  );
  const isMachines = (path: string): boolean =>
    inventory.machines.withUnfinished().some(({ directory }) => directory === path);
  for (const { directory } of datastorePlaces(paths)) {
    void removeLeftUploads(directory);
    void removeUnfinished(directory, isMachines);
  }
  const server = await VimServer.listen(inventory, sessions, certificate, options.listen);
  const { address, port } = server.address;
  const url = `https://${address.includes(':') ? `[${address}]` : address}:${port}/sdk`;
  await writeWhole(
    paths.hostdFile,
    JSON.stringify({ url, thumbprint: certificate.thumbprint, pid: process.pid, acceleration: runs?.acceleration }),
  );
  log.info({ url, vms: inventory.machines.all().length }, 'hostd is up');
  return {
    url,
    thumbprint: certificate.thumbprint,
    user: credentials.user,
    password: credentials.password,
    async close() {
      await rm(paths.hostdFile, { force: true });
      sessions.close();
      await server.close();
      await files?.close();
      inventory.release();
    },
  };
}

/** Null where it is not possible: then endpoints use HTTPS. */
async function listenForFiles(paths: InstancePaths, answer: AnswerFile): Promise<FileSocket | null> {
  try {
    await mkdir(paths.runDir, { recursive: true, mode: 0o711 });
    return await FileSocket.listen(paths.filesSocket, answer);
  } catch (error) {
    log.warn({ err: messageOf(error) }, 'endpoints move files over HTTPS: no socket for them');
    return null;
  }
}

async function refuseTwice(paths: InstancePaths): Promise<void> {
  const text = await readFile(paths.hostdFile, 'utf8').catch(() => null);
  if (text === null) return;
  const { pid } = JSON.parse(text) as { pid: number };
  if (pid === process.pid || identify(pid) === null) return;
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  if (command.includes('hostd') && command.includes(paths.stateDir))
    throw conflict(`hostd runs on ${paths.stateDir} already (process ${pid})`);
}

async function loadCredentials(
  paths: InstancePaths,
): Promise<{ user: string; password: string; instanceUuid: string }> {
  const text = await readFile(paths.credentialsFile, 'utf8').catch(() => null);
  if (text !== null) return JSON.parse(text) as { user: string; password: string; instanceUuid: string };
  const credentials = { user: 'root', password: randomBytes(18).toString('base64url'), instanceUuid: randomUUID() };
  await writeWhole(paths.credentialsFile, JSON.stringify(credentials), 0o600);
  return credentials;
}
