/** `inventory.json`: what the inventory keeps of pools, port groups and registered VMs. VMs themselves are in their .vmx files. */
import { existsSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { Saver } from '../../common/saver.js';
import { ROOT_POOL } from '../references.js';
import { REJECT_ALL, type SecurityPolicy, samePolicy } from '../switch/security-policy.js';

/** ResourceAllocationInfo of a pool. */
export interface Allocation {
  reservation: number;
  expandableReservation: boolean;
  limit: number;
  shares: { level: string; shares: number };
}

export const UNLIMITED: Allocation = {
  reservation: 0,
  expandableReservation: true,
  limit: -1,
  shares: { level: 'normal', shares: 4000 },
};

/** What is kept of a pool. */
export interface PoolRecord {
  id: string;
  name: string;
  /** Id of the parent pool; null for the root pool. */
  parent: string | null;
  cpu: Allocation;
  memory: Allocation;
}

/** What is kept of a registered VM. */
export interface VmRecord {
  id: string;
  /** Path of the .vmx file below the datastore. */
  vmx: string;
  /** Id of its pool. */
  pool: string;
}

/** The file's content. */
interface Stored {
  nextId: number;
  pools: PoolRecord[];
  portGroups: string[];
  /** Of port groups that do not reject everything. */
  policies?: Record<string, SecurityPolicy>;
  /** Ids of the virtual container hosts that made port groups, by the port group's name. */
  owners?: Record<string, string>;
  vms: VmRecord[];
}

/** What is kept, as the inventory has it. */
export interface InventoryRecords {
  pools: PoolRecord[];
  portGroups: Map<string, SecurityPolicy>;
  owners: Map<string, string>;
  vms: VmRecord[];
}

const EMPTY: Stored = {
  nextId: 1,
  pools: [{ id: ROOT_POOL.value, name: 'Resources', parent: null, cpu: UNLIMITED, memory: UNLIMITED }],
  portGroups: ['VM Network'],
  vms: [],
};

export class InventoryFile {
  private stored = structuredClone(EMPTY);
  private readonly saver = new Saver(() => this.write());

  /** @param records what is to be kept, as it is now */
  constructor(
    private readonly path: string,
    private readonly records: () => InventoryRecords,
  ) {}

  /** A number that no object of this inventory has had. It is kept with the next {@link save}. */
  nextId(): number {
    return this.stored.nextId++;
  }

  /** The number that {@link nextId} gives next. */
  get upcomingId(): number {
    return this.stored.nextId;
  }

  /** What was kept. */
  async load(): Promise<InventoryRecords> {
    if (existsSync(this.path)) this.stored = { ...EMPTY, ...(JSON.parse(await readFile(this.path, 'utf8')) as Stored) };
    const { pools, portGroups, policies, owners, vms } = this.stored;
    return {
      pools,
      vms,
      portGroups: new Map(portGroups.map((name) => [name, policies?.[name] ?? REJECT_ALL])),
      owners: new Map(Object.entries(owners ?? {})),
    };
  }

  /** Writes the file; saves that follow each other fast become one. */
  save(): Promise<void> {
    return this.saver.save();
  }

  private async write(): Promise<void> {
    const { pools, portGroups, owners, vms } = this.records();
    this.stored = {
      ...this.stored,
      pools,
      portGroups: [...portGroups.keys()],
      policies: Object.fromEntries([...portGroups].filter(([, policy]) => !samePolicy(policy, REJECT_ALL))),
      owners: Object.fromEntries(owners),
      vms,
    };
    await writeFile(`${this.path}.new`, JSON.stringify(this.stored), { mode: 0o600 });
    await rename(`${this.path}.new`, this.path);
  }
}
