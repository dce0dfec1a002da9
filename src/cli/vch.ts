/**
 * Virtual container hosts in a vSphere inventory: a resource pool of the host's name, in it the endpoint VM (first) and the
 * container VMs. Everything about a host is read back from there; vic-machine keeps nothing.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type VchConfig, vchConfigSchema } from '../../port-layer/config.js';
import { isEmbedded } from '../common/embedded-host.js';
import { CaissonError, conflict, invalid, isKind, notFound } from '../common/errors.js';
import { type Attachment, backingOf, type ManagedObjectReference, segmentOf, type VimClient } from '../vim25/index.js';
import { findObject, listObjects } from './inventory.js';
import { checkHostSettings, type NetworkSettings } from './network-options.js';
import { networkObject, provideNetwork, removeMadePortGroups, removePortGroup, switchObject } from './port-groups.js';
import {
  grantVchPermissions,
  keepVchLogin,
  makeVchLogin,
  type OpsUser,
  removeVchLogin,
  vchUserName,
} from './vch-login.js';
import type { StoreSettings } from './volume-store-options.js';

/** How long an endpoint may take to shut down. */
const SHUTDOWN_MS = 8000;
const CONFIG_KEY = 'guestinfo.caisson.vch';
const APPLIANCE_KEY = 'caisson.appliance';
const OWNER_KEY = 'caisson.vch';
/** Tells the embedded host which files and sockets belong to a VCH: `src/hostd/access/scope.ts`. */
const SCOPE_KEY = 'caisson.scope';

/** A virtual container host as it stands in the inventory. */
export interface Vch {
  id: string;
  name: string;
  endpoint: ManagedObjectReference;
  powerState: string;
  config: VchConfig;
}

/** A virtual machine, with the properties that vic-machine reads. */
interface OwnedVm {
  ref: ManagedObjectReference;
  name: string;
  powerState: string;
  keys: Map<string, string>;
}

/** What the caller chooses for a new host; its place is looked up in the inventory. */
export interface NewVch extends StoreSettings {
  name: string;
  /** The login that vic-machine itself uses. */
  login: { url: string; user: string; password: string; thumbprint: string };
  /** An existing user for the endpoint. Without one, a user is created if the target has users of its own. */
  opsUser?: OpsUser;
  datacenter?: string;
  imageStore: VchConfig['imageStore'];
  computeResource?: string;
  networks: VchConfig['networks'];
  listen: VchConfig['listen'];
  registry: VchConfig['registry'];
  container: VchConfig['container'];
  storage?: VchConfig['storage'];
  channelDir: string;
  syslog?: VchConfig['syslog'];
  publish?: VchConfig['publish'];
  /** Of the networks and the way out. */
  settings?: NetworkSettings;
}

async function listOwnedVms(client: VimClient): Promise<OwnedVm[]> {
  const vms = await listObjects(client, 'VirtualMachine');
  if (vms.length === 0) return [];
  const objects = await client.retrieve(
    vms.map((vm) => vm.ref),
    'VirtualMachine',
    ['name', 'runtime.powerState', 'config.extraConfig'],
  );
  return objects.map((object) => ({
    ref: object.ref,
    name: object.props.name ?? '',
    powerState: String(object.props['runtime.powerState'] ?? 'unknown'),
    keys: new Map((object.props['config.extraConfig'] ?? []).map((option) => [option.key, String(option.value ?? '')])),
  }));
}

/** All virtual container hosts of the target. */
export async function listVchs(client: VimClient): Promise<Vch[]> {
  const found: Vch[] = [];
  for (const vm of await listOwnedVms(client)) {
    const raw = vm.keys.get(CONFIG_KEY);
    if (vm.keys.get(APPLIANCE_KEY) !== 'endpoint' || raw === undefined) continue;
    const config = vchConfigSchema.parse(JSON.parse(raw));
    found.push({ id: config.id, name: config.name, endpoint: vm.ref, powerState: vm.powerState, config });
  }
  return found;
}

/** The host of that name or id. @throws notFound */
export async function findVch(client: VimClient, wanted: { name?: string; id?: string }): Promise<Vch> {
  const all = await listVchs(client);
  const found = all.find((vch) => (wanted.id !== undefined ? vch.id === wanted.id : vch.name === wanted.name));
  if (found !== undefined) return found;
  const names = all.map((vch) => vch.name).join(', ') || 'none';
  throw notFound(`VCH ${wanted.id ?? wanted.name ?? ''} was not found; there is: ${names}`);
}

/**
 * Makes a virtual container host and powers its endpoint on; removes what it made when a step fails.
 * @param progress called with each step
 * @throws conflict when the name is taken
 */
export async function createVch(client: VimClient, options: NewVch, progress: (step: string) => void): Promise<Vch> {
  progress('Validating supplied configuration');
  const existing = await listVchs(client);
  if (existing.some((vch) => vch.name === options.name)) throw conflict(`VCH "${options.name}" already exists`);
  checkHostSettings(isEmbedded(client.serviceContent.about), options.settings ?? {});
  const datacenter = await findObject(client, 'Datacenter', options.datacenter, '--target …/datacenter');
  const datastore = await findObject(client, 'Datastore', options.imageStore.datastore, '--image-store');
  const stores = await provideVolumeStores(client, options);
  const parent = await findParentPool(client, options.computeResource);
  const folder = await vmFolder(client, datacenter.ref);
  const undo: (() => Promise<unknown>)[] = [];
  try {
    const networks: VchConfig['networks'][number][] = [];
    const createdPortGroups: string[] = [];
    for (const network of options.networks) {
      const { network: found, made } = await provideNetwork(client, network.portGroup, '--bridge-network', (one) =>
        checkFree(existing, one),
      );
      const { portGroup, distributed } = found;
      if (made) {
        progress(`Created bridge network "${portGroup}"`);
        undo.push(() => removePortGroup(client, portGroup));
        createdPortGroups.push(portGroup);
      }
      networks.push({ ...network, portGroup, distributed });
    }
    const bridges = new Set(networks.map(segmentOf));
    const { networks: containerNetworks, made: madeForContainers } = await provideContainerNetworks(
      client,
      options.settings?.containerNetworks,
    );
    for (const portGroup of madeForContainers) {
      progress(`Created container network "${portGroup}"`);
      undo.push(() => removePortGroup(client, portGroup));
    }
    for (const one of containerNetworks)
      if (bridges.has(segmentOf(one)))
        throw invalid(
          `--container-network: the bridge network must not be shared with another network role: ${one.portGroup}`,
        );
    progress(`Creating resource pool "${options.name}"`);
    const pool = await createPool(client, parent, options.name);
    undo.push(() => client.runTask('Destroy_Task', pool, {}));
    const id = randomBytes(16).toString('hex');
    const { opsUser } = options;
    if (opsUser === undefined) undo.push(() => removeVchLogin(client, id));
    const target =
      opsUser === undefined
        ? await makeVchLogin(client, id, options.login)
        : { ...options.login, user: opsUser.user, password: opsUser.password };
    const config: VchConfig = {
      version: 1,
      id,
      name: options.name,
      target,
      resourcePool: pool,
      folder,
      datacenter: datacenter.name,
      imageStore: { datastore: datastore.name, path: options.imageStore.path },
      ...stores,
      networks: networks as VchConfig['networks'],
      createdPortGroups,
      listen: options.listen,
      registry: options.registry,
      container: options.container,
      ...(options.storage === undefined ? {} : { storage: options.storage }),
      channelDir: options.channelDir,
      ...(options.syslog === undefined ? {} : { syslog: options.syslog }),
      ...(options.publish === undefined ? {} : { publish: options.publish }),
      ...options.settings,
      ...(containerNetworks.length === 0 ? {} : { containerNetworks }),
    };
    progress('Creating the endpoint VM');
    const endpoint = await createEndpointVm(client, config);
    undo.push(() => destroyVm(client, endpoint));
    if (opsUser?.grant ?? target.user !== options.login.user) {
      progress(`Setting the permissions of "${target.user}"`);
      await grantLogin(client, config, endpoint);
    }
    progress('Powering on the endpoint VM');
    await client.runTask('PowerOnVM_Task', endpoint, {});
    undo.length = 0;
    return { id: config.id, name: config.name, endpoint, powerState: 'poweredOn', config };
  } catch (error) {
    for (const step of undo.reverse()) await step().catch(() => undefined);
    throw error;
  }
}

/** Volume stores with their datastores' names in the inventory. @throws notFound */
export async function provideVolumeStores(
  client: VimClient,
  { volumeStores: stores, nfsStores }: StoreSettings,
): Promise<StoreSettings> {
  const others = nfsStores === undefined ? {} : { nfsStores };
  if (stores === undefined) return others;
  const found: NonNullable<VchConfig['volumeStores']> = [];
  for (const one of stores) {
    const { name } = await findObject(client, 'Datastore', one.datastore, '--volume-store');
    found.push({ ...one, datastore: name });
  }
  return { volumeStores: found, ...others };
}

async function findParentPool(client: VimClient, computeResource: string | undefined): Promise<ManagedObjectReference> {
  const compute = await findObject(client, 'ComputeResource', computeResource, '--compute-resource');
  const [object] = await client.retrieve([compute.ref], 'ComputeResource', ['resourcePool']);
  const pool = object?.props.resourcePool;
  if (pool === undefined) throw invalid(`--compute-resource '${compute.name}' has no resource pool`);
  return pool;
}

async function vmFolder(client: VimClient, datacenter: ManagedObjectReference): Promise<ManagedObjectReference> {
  const [object] = await client.retrieve([datacenter], 'Datacenter', ['vmFolder']);
  const folder = object?.props.vmFolder;
  if (folder === undefined) throw invalid('the datacenter has no folder for virtual machines');
  return folder;
}

async function createPool(
  client: VimClient,
  parent: ManagedObjectReference,
  name: string,
): Promise<ManagedObjectReference> {
  const shares = { level: 'normal' as const, shares: 0 };
  const allocation = { reservation: 0, expandableReservation: true, limit: -1, shares };
  return client.call('CreateResourcePool', parent, {
    name,
    spec: { cpuAllocation: allocation, memoryAllocation: allocation },
  });
}

/** @throws conflict when another virtual container host has its containers there */
function checkFree(existing: readonly Vch[], attachment: Attachment): void {
  const taken = existing.find(({ config }) => config.networks.some((one) => segmentOf(one) === segmentOf(attachment)));
  if (taken !== undefined)
    throw conflict(
      `Bridge network "${attachment.portGroup}" is used by VCH "${taken.name}" already; give this one a network of its own`,
    );
}

/**
 * Finds the port groups of container networks, and makes those that are missing on a single host. They outlive the virtual container host:
 * others may use them too.
 * @returns the networks with what their cards are attached to, and the names of those that it made
 * @throws invalid when one is missing on a vCenter
 */
export async function provideContainerNetworks(
  client: VimClient,
  networks: NonNullable<VchConfig['containerNetworks']> = [],
): Promise<{ networks: NonNullable<VchConfig['containerNetworks']>; made: string[] }> {
  const found: NonNullable<VchConfig['containerNetworks']> = [];
  const made: string[] = [];
  for (const one of networks) {
    const { network, made: isNew } = await provideNetwork(client, one.portGroup, '--container-network');
    if (isNew) made.push(network.portGroup);
    found.push({ ...one, portGroup: network.portGroup, distributed: network.distributed });
  }
  return { networks: found, made };
}

async function createEndpointVm(client: VimClient, config: VchConfig): Promise<ManagedObjectReference> {
  return client.runTask('CreateVM_Task', config.folder, {
    pool: config.resourcePool,
    config: {
      name: config.name,
      guestId: 'other3xLinux64Guest',
      annotation: 'Endpoint of a virtual container host',
      files: { vmPathName: `[${config.imageStore.datastore}]` },
      numCPUs: 1,
      memoryMB: 2048,
      deviceChange: config.networks.map((network, card) => ({
        operation: 'add' as const,
        device: {
          $type: 'VirtualVmxnet3' as const,
          key: -1 - card,
          backing: backingOf(network),
          connectable: { startConnected: true, allowGuestControl: true, connected: true },
          addressType: 'generated',
        },
      })),
      extraConfig: [
        { key: APPLIANCE_KEY, value: 'endpoint' },
        { key: OWNER_KEY, value: config.id },
        { key: SCOPE_KEY, value: scope(config) },
        { key: CONFIG_KEY, value: JSON.stringify(config) },
      ],
    },
  }) as Promise<ManagedObjectReference>;
}

/** Directories of the host's images and volumes, for its machines, and of their sockets. */
function scope(config: VchConfig): string {
  const { imageStore, channelDir } = config;
  return JSON.stringify({
    files: ownDirectories(config),
    machines: [storePath(imageStore)],
    sockets: [channelDir],
  });
}

/** The directories that hold a host's images and volumes, each once. */
function ownDirectories({ imageStore, volumeStores = [], id }: VchConfig): string[] {
  return [...new Set([imageStore, ...volumeStores].map((store) => storePath(store, 'VIC', id)))];
}

function storePath({ datastore, path }: VchConfig['imageStore'], ...below: string[]): string {
  return `[${datastore}] ${[path, ...below].filter((part) => part !== '').join('/')}`;
}

/** Sets the permissions of the login in a host's configuration. */
export async function grantLogin(
  client: VimClient,
  config: VchConfig,
  endpoint: ManagedObjectReference,
): Promise<void> {
  const named = async (type: 'Datacenter' | 'Datastore', name: string): Promise<ManagedObjectReference> =>
    (await findObject(client, type, name, type)).ref;
  await grantVchPermissions(client, config.target.user, {
    pool: config.resourcePool,
    vmFolder: config.folder,
    datacenter: await named('Datacenter', config.datacenter),
    datastores: await Promise.all(
      [...new Set([config.imageStore, ...(config.volumeStores ?? [])].map(({ datastore }) => datastore))].map((name) =>
        named('Datastore', name),
      ),
    ),
    networks: await Promise.all(
      [...config.networks, ...(config.containerNetworks ?? [])].map((one) => networkObject(client, one)),
    ),
    endpoint,
    // The embedded host lets a login change only the port groups that are its own.
    makesPortGroups: isEmbedded(client.serviceContent.about) || config.allowNetworkCreate === true,
    switch: config.allowNetworkCreate === true ? await switchObject(client, config.networks[0]) : undefined,
  });
}

/** Writes a changed configuration and restarts the endpoint with it; containers go on running. */
export async function reconfigureVch(client: VimClient, vch: Vch, config: VchConfig): Promise<void> {
  await powerOff(client, vch.endpoint);
  await writeConfig(client, vch, config);
  await client.runTask('PowerOnVM_Task', vch.endpoint, {});
}

async function writeConfig(client: VimClient, vch: Vch, config: VchConfig): Promise<void> {
  await client.runTask('ReconfigVM_Task', vch.endpoint, {
    spec: {
      extraConfig: [
        { key: SCOPE_KEY, value: scope(config) },
        { key: CONFIG_KEY, value: JSON.stringify(config) },
      ],
    },
  });
}

/**
 * Gives a host that an earlier version made, whose endpoint uses vic-machine's login, a login of its own; one that has its own gets the
 * rights that this version's endpoints have.
 */
export async function separateLogin(client: VimClient, vch: Vch, login: NewVch['login']): Promise<void> {
  if (vch.config.target.user === vchUserName(vch.id)) await grantLogin(client, vch.config, vch.endpoint);
  if (vch.config.target.user !== login.user) return;
  const config = { ...vch.config, target: await keepVchLogin(client, vch.id, vch.config.target, login) };
  await grantLogin(client, config, vch.endpoint);
  if (vch.powerState === 'poweredOn') await reconfigureVch(client, vch, config);
  else await writeConfig(client, vch, config);
}

/** Powers the endpoint on if it is off. */
export async function powerOnVch(client: VimClient, vch: Vch): Promise<void> {
  if (vch.powerState !== 'poweredOn') await client.runTask('PowerOnVM_Task', vch.endpoint, {});
}

/** Stops the endpoint; containers go on running. */
export async function powerOffVch(client: VimClient, vch: Vch): Promise<void> {
  await powerOff(client, vch.endpoint);
}

/**
 * Removes a host with its containers, images, volumes, network and pool.
 * @throws conflict when containers run and `force` is not given
 */
export async function deleteVch(
  client: VimClient,
  vch: Vch,
  options: { force: boolean },
  progress: (step: string) => void,
): Promise<void> {
  const containers = async (): Promise<Awaited<ReturnType<typeof listOwnedVms>>> =>
    (await listOwnedVms(client)).filter(
      (vm) => vm.keys.get(OWNER_KEY) === vch.id && vm.ref.value !== vch.endpoint.value,
    );
  const running = (await containers()).filter((vm) => vm.powerState !== 'poweredOff').map((vm) => vm.name);
  if (running.length > 0 && !options.force) {
    throw conflict(
      `${running.join(', ')} ${running.length === 1 ? 'is' : 'are'} powered on. Specify --force to force delete`,
    );
  }
  progress('Stopping the endpoint VM');
  await shutDown(client, vch.endpoint);
  const owned = await containers();
  if (owned.length > 0) progress(`Removing ${owned.length} container VM${owned.length === 1 ? '' : 's'}`);
  for (const vm of owned)
    await destroyVm(client, vm.ref).catch((error: unknown) => {
      // The endpoint had begun to remove it.
      if (!isKind(error, 'notFound')) throw error;
    });
  progress('Removing images and volumes');
  await removeStores(client, vch);
  progress('Removing the endpoint VM, its networks and its resource pool');
  // The embedded host does this when the VM goes.
  await removeMadePortGroups(client, vch.config, vch.endpoint, progress);
  await destroyVm(client, vch.endpoint);
  for (const portGroup of portGroupsThatGo(client, vch.config)) await removePortGroup(client, portGroup);
  await client.runTask('Destroy_Task', vch.config.resourcePool, {});
  await removeVchLogin(client, vch.id);
}

/** Bridge networks that were made with the host. Earlier versions did not note it, and made them on the embedded host. */
function portGroupsThatGo(client: VimClient, { createdPortGroups, networks }: VchConfig): string[] {
  if (createdPortGroups !== undefined) return createdPortGroups;
  return isEmbedded(client.serviceContent.about) ? networks.map(({ portGroup }) => portGroup) : [];
}

async function removeStores(client: VimClient, vch: Vch): Promise<void> {
  const { fileManager } = client.serviceContent;
  if (fileManager === undefined) return;
  const datacenter = await findObject(client, 'Datacenter', vch.config.datacenter, '--target …/datacenter');
  for (const name of ownDirectories(vch.config))
    try {
      await client.runTask('DeleteDatastoreFile_Task', fileManager, { name, datacenter: datacenter.ref });
    } catch (error) {
      // Nothing was ever pulled.
      if (!(error instanceof CaissonError && error.kind === 'notFound')) throw error;
    }
}

/** Lets the endpoint shut down and clean up; powers it off if it does not. */
async function shutDown(client: VimClient, vm: ManagedObjectReference): Promise<void> {
  try {
    await client.call('ShutdownGuest', vm, {});
    for (const deadline = Date.now() + SHUTDOWN_MS; Date.now() < deadline; await sleep(50)) {
      const [object] = await client.retrieve([vm], 'VirtualMachine', ['runtime.powerState']);
      if (object?.props['runtime.powerState'] === 'poweredOff') return;
    }
  } catch (error) {
    if (isKind(error, 'notFound')) throw error;
  }
  await powerOff(client, vm);
}

async function powerOff(client: VimClient, vm: ManagedObjectReference): Promise<void> {
  const [object] = await client.retrieve([vm], 'VirtualMachine', ['runtime.powerState']);
  if (object?.props['runtime.powerState'] === 'poweredOff') return;
  await client.runTask('PowerOffVM_Task', vm, {}).catch((error: unknown) => {
    // It has just shut down by itself.
    if (!isKind(error, 'conflict')) throw error;
  });
}

async function destroyVm(client: VimClient, vm: ManagedObjectReference): Promise<void> {
  await powerOff(client, vm);
  await client.runTask('Destroy_Task', vm, {});
}
