/** Where everything of a state directory is: datastores, virtual container hosts, VMs. Nothing is judged here. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { InstancePaths } from '../common/paths.js';
import { type DatastorePlace, datastorePlaces, parseDatastore } from '../hostd/datastore/datastore-places.js';
import { loadVmx, type VmConfig } from '../hostd/vm/vm-config.js';

/** A virtual container host's part of a datastore: images, volumes, small values. */
export interface HostStore {
  /** Id of the virtual container host. */
  id: string;
  directory: string;
  /** Name of the virtual container host; null if no VM is its endpoint. */
  name: string | null;
}

/** A .vmx file, and what is in it. */
export interface MachineFile {
  path: string;
  directory: string;
  /** Null if it cannot be read. */
  config: VmConfig | null;
  /** What it has of the inventory; null: it is not registered. */
  record: { id: string; pool: string } | null;
}

export interface StoreMap {
  paths: InstancePaths;
  datastores: DatastorePlace[];
  hosts: HostStore[];
  machines: MachineFile[];
  /** The inventory's file as it is; null if it cannot be read. */
  inventory: InventoryRecords | null;
  inventoryText: string | null;
}

/** `inventory.json`, as far as it is checked. */
export interface InventoryRecords {
  nextId?: number;
  pools?: { id: string; name: string; parent: string | null }[];
  portGroups?: string[];
  owners?: Record<string, string>;
  vms?: { id: string; vmx: string; pool: string }[];
}

const APPLIANCE_KEY = 'caisson.appliance';
export const VCH_KEY = 'caisson.vch';
export const CONTAINER_KEY = 'caisson.container';
export const NETWORKS_KEY = 'caisson.networks';

/** Names in a directory; none if it is not there. */
export function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}

export const isDirectory = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

/** A file's text; null if it is not there. */
export function textOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** Parses JSON; undefined for what is none. */
export function jsonOf(text: string | null): unknown {
  try {
    return text === null ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

export async function mapStore(paths: InstancePaths): Promise<StoreMap> {
  const inventoryText = textOf(join(paths.stateDir, 'inventory.json'));
  const parsed = jsonOf(inventoryText);
  const inventory = typeof parsed === 'object' && parsed !== null ? (parsed as InventoryRecords) : null;
  const datastores = datastorePlaces({ ...paths, moreDatastores: moreDatastores(paths) });
  const machines = await machinesOf(datastores, paths.datastoreDir, inventory);
  const names = new Map(
    machines.filter(isEndpoint).map(({ config }) => [config?.extraConfig.get(VCH_KEY), config?.name]),
  );
  const hosts = datastores.flatMap(({ directory: datastore }) =>
    hostRoots(datastore).map((directory) => {
      const id = directory.slice(directory.lastIndexOf('/') + 1);
      return { id, directory, name: names.get(id) ?? null };
    }),
  );
  return { paths, datastores, hosts, machines, inventory, inventoryText };
}

export function isEndpoint({ config }: MachineFile): boolean {
  return config?.extraConfig.get(APPLIANCE_KEY) === 'endpoint';
}

/** `…/VIC/<id>`, at the root of the datastore or in a folder of it. */
function hostRoots(datastore: string): string[] {
  const places = [datastore, ...namesIn(datastore).map((name) => join(datastore, name))];
  return places
    .map((place) => join(place, 'VIC'))
    .filter((vic) => isDirectory(vic))
    .flatMap((vic) => namesIn(vic).map((id) => join(vic, id)))
    .filter((root) => isDirectory(root));
}

/** Those that `npm start -- --datastore` was given; see `src/cli/kept-host-options.ts`. */
function moreDatastores({ stateDir }: InstancePaths): DatastorePlace[] {
  const kept = jsonOf(textOf(join(stateDir, 'datastores.json')));
  return Array.isArray(kept) ? kept.map(String).map(parseDatastore) : [];
}

async function machinesOf(
  datastores: DatastorePlace[],
  first: string,
  inventory: InventoryRecords | null,
): Promise<MachineFile[]> {
  const found = datastores.flatMap(({ directory }) =>
    namesIn(directory).flatMap((name) =>
      namesIn(join(directory, name))
        .filter((file) => file.endsWith('.vmx'))
        .map((file) => join(directory, name, file)),
    ),
  );
  const registered = (Array.isArray(inventory?.vms) ? inventory.vms : []).filter(({ vmx }) => typeof vmx === 'string');
  const records = new Map(registered.map(({ vmx, id, pool }) => [join(first, vmx), { id, pool }]));
  const all = [...new Set([...found, ...records.keys()])].filter((path) => existsSync(path));
  return Promise.all(
    all.map(async (path) => ({
      path,
      directory: dirname(path),
      config: await loadVmx(path, datastorePathOf(datastores, dirname(path))).catch(() => null),
      record: records.get(path) ?? null,
    })),
  );
}

/** `[name] path` of a directory. */
function datastorePathOf(datastores: DatastorePlace[], path: string): string {
  const place = datastores.find(({ directory }) => path.startsWith(`${directory}/`));
  return place === undefined ? path : `[${place.name}] ${path.slice(place.directory.length + 1)}`;
}
