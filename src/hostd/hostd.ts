/**
 * The embedded vSphere host: answers vim25 over HTTPS for one machine, keeps VMs as .vmx files in a datastore directory, and runs
 * them through a {@link VmRuntime}. Knows nothing of containers.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { chmod, chown, mkdir, readFile, rm } from 'node:fs/promises';
import { conflict } from '../common/errors.js';
import { logger } from '../common/log.js';
import type { InstancePaths } from '../common/paths.js';
import { writeWhole } from '../common/write-whole.js';
import type { AboutInfo } from '../vim25/types.generated.js';
import { HostLocalAccountManager } from './services/host-local-account-manager.js';
import { Accounts } from './access/accounts.js';
import { Authority } from './access/authority.js';
import { AuthorizationManager } from './services/authorization-manager.js';
import { Holdings } from './access/holdings.js';
import { isEndpoint } from './vm/machine-access.js';
import { Host, type HostSwitch } from './inventory/host.js';
import type { RunsMachines } from './inventory/host-info.js';
import { ServiceInstance } from './services/service-instance.js';
import { identify } from './process-id.js';
import type { VmRuntime } from './runtime.js';
import { hostCertificate } from './server/certificate.js';
import { defaultCollector, SessionManager } from './services/session-manager.js';
import { removeLeftUploads } from './server/uploads.js';
import { VimServer } from './server/vim-server.js';

const log = logger('hostd');

/** A running embedded host. */
export interface Hostd {
  url: string;
  thumbprint: string;
  user: string;
  password: string;
  /** Stops serving; VMs go on running. */
  close(): Promise<void>;
}

/** What the embedded host says of itself. */
function aboutInfo(instanceUuid: string): AboutInfo {
  return {
    name: 'Caisson embedded host',
    fullName: 'Caisson embedded host 7.0.3 (vSphere API)',
    vendor: 'Caisson',
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
 * @throws conflict when another one runs on it
 */
export async function startHostd(options: {
  paths: InstancePaths;
  runtime: VmRuntime;
  virtualSwitch: HostSwitch | null;
  listen: { host: string; port: number };
  runs?: RunsMachines;
  /** Memory for what each user has open. */
  userBytes?: number;
}): Promise<Hostd> {
  const { paths, runtime, virtualSwitch, runs } = options;
  await mkdir(paths.datastoreDir, { recursive: true, mode: 0o711 });
  await chmod(paths.stateDir, 0o711);
  // QEMU opens disks before it drops its rights: nobody but root has business here.
  await chown(paths.datastoreDir, 0, 0);
  await chmod(paths.datastoreDir, 0o700);
  await refuseTwice(paths);
  const credentials = await loadCredentials(paths);
  const certificate = await hostCertificate(paths.stateDir);
  const about = aboutInfo(credentials.instanceUuid);
  const host = new Host(paths, runtime, virtualSwitch, about, runs);
  host.registry.add(new ServiceInstance(about));
  host.registry.add(defaultCollector());
  const accounts = new Accounts(paths.accessFile, credentials.user);
  await accounts.load();
  // What somebody waits for may be seen, or gone, from now on.
  accounts.onChange = () => host.registry.notify();
  const authority = new Authority(
    accounts,
    credentials.user,
    host.registry,
    host.rootFolder,
    isEndpoint,
    new Holdings(options.userBytes),
  );
  host.registry.on('removed', ({ ref }) => accounts.entityRemoved(ref));
  host.registry.add(new AuthorizationManager(authority, host.registry, host.rootFolder));
  const sessions = host.registry.add(new SessionManager(host.registry, host.events, credentials, authority));
  host.registry.add(new HostLocalAccountManager(accounts, (user) => sessions.endAllOf(user)));
  await host.load();
  void removeLeftUploads(paths.datastoreDir);
  const server = await VimServer.listen(host, sessions, certificate, options.listen);
  const { address, port } = server.address;
  const url = `https://${address.includes(':') ? `[${address}]` : address}:${port}/sdk`;
  await writeWhole(
    paths.hostdFile,
    JSON.stringify({ url, thumbprint: certificate.thumbprint, pid: process.pid, acceleration: runs?.acceleration }),
  );
  log.info({ url, vms: host.vms().length }, 'hostd is up');
  return {
    url,
    thumbprint: certificate.thumbprint,
    user: credentials.user,
    password: credentials.password,
    async close() {
      await rm(paths.hostdFile, { force: true });
      sessions.close();
      await server.close();
      host.release();
    },
  };
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
