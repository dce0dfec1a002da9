/** Checks the embedded host's own files: inventory, users and permissions, and drafts that were never put in place. */
import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { z } from 'zod';
import type { Check } from './check.js';
import { isDirectory, isEndpoint, jsonOf, NETWORKS_KEY, namesIn, textOf, VCH_KEY } from './store-map.js';

const inventoryFile = z.object({
  nextId: z.number(),
  pools: z.array(z.object({ id: z.string(), name: z.string(), parent: z.string().nullable() })),
  portGroups: z.array(z.string()),
  owners: z.record(z.string(), z.string()).optional(),
  vms: z.array(z.object({ id: z.string(), vmx: z.string(), pool: z.string() })),
});
type Inventory = z.infer<typeof inventoryFile>;

const accessFile = z.object({
  users: z.array(z.object({ name: z.string() })),
  roles: z.array(z.object({ id: z.number() })),
  permissions: z.array(
    z.object({ entity: z.object({ type: z.string(), value: z.string() }), principal: z.string(), roleId: z.number() }),
  ),
});
const usersFile = z.record(z.string(), z.number());
/** Roles of the system have numbers up to this; see `src/hostd/access/roles.ts`. */
const LAST_SYSTEM_ROLE = 9;

export function checkHostFiles(check: Check): void {
  checkInventory(check);
  checkAccess(check);
  checkUsers(check);
  checkDrafts(check);
}

function damage(check: Check, path: string, parts: { code: string; what: string; means: string; todo: string }): void {
  check.find({ severity: 'damage', where: relative(check.store.paths.stateDir, path), ...parts });
}

function checkInventory(check: Check): void {
  const { paths, inventoryText, machines } = check.store;
  const path = join(paths.stateDir, 'inventory.json');
  if (inventoryText === null && machines.length === 0) return;
  const parsed = inventoryFile.safeParse(jsonOf(inventoryText));
  if (!parsed.success) {
    damage(check, path, {
      code: 'inventory.record',
      what: inventoryText === null ? 'the inventory is missing' : 'the inventory cannot be read',
      means: 'the embedded host does not start, or knows none of its virtual machines; their files are still there',
      todo: 'restore the file from a backup, or register the virtual machines again (govc vm.register)',
    });
    return;
  }
  checkRecords(check, path, parsed.data);
  checkPortGroups(check, path, parsed.data);
}

function checkRecords(check: Check, path: string, { pools, vms }: Inventory): void {
  const ids = new Set(pools.map(({ id }) => id));
  for (const { id, name, parent } of pools)
    if (parent !== null && !ids.has(parent))
      damage(check, path, {
        code: 'inventory.pool',
        what: `resource pool ${name} (${id}) is in pool ${parent}, which is not there`,
        means: 'the pool and its virtual machines are in no list',
        todo: 'remove the virtual container host of that name, and make it anew',
      });
  const seen = new Set<string>();
  for (const { id, vmx, pool } of vms) {
    if (seen.has(id))
      damage(check, path, {
        code: 'inventory.twice',
        what: `two virtual machines have the id ${id}`,
        means: 'only one of them can be reached',
        todo: 'restore the file from a backup',
      });
    seen.add(id);
    if (!ids.has(pool))
      damage(check, path, {
        code: 'inventory.pool',
        what: `virtual machine ${id} (${vmx}) is in pool ${pool}, which is not there`,
        means: 'its virtual container host does not see it',
        todo: 'take it out of the inventory and register it again',
      });
    if (existsSync(join(check.store.paths.datastoreDir, vmx))) continue;
    if (check.running) check.skip(vmx, 'its definition is missing; it may just be being removed');
    else
      check.find({
        code: 'inventory.noFile',
        severity: 'damage',
        where: relative(check.store.paths.stateDir, path),
        what: `the inventory has virtual machine ${id}, whose definition ${vmx} is missing`,
        means: 'the virtual machine is gone',
        todo: 'restore it from a backup; --repair takes it out of the inventory',
        repair: { kind: 'unlist', path, list: 'vms', entry: id },
      });
  }
}

/** Every card's port group is there, and every port group that a virtual container host made belongs to one of its networks. */
function checkPortGroups(check: Check, path: string, { portGroups, owners = {} }: Inventory): void {
  const known = new Set(portGroups);
  for (const machine of check.store.machines)
    for (const { portGroup } of machine.config?.hardware.nics ?? [])
      if (!known.has(portGroup))
        damage(check, machine.path, {
          code: 'machine.network',
          what: `a card of virtual machine ${machine.config?.name} is on port group '${portGroup}', which is not there`,
          means: 'it does not start, or has no network',
          todo: "make the port group anew (govc host.portgroup.add), or the container's network",
        });
  const networks = new Map(
    check.store.machines.filter(isEndpoint).map(({ config }) => {
      const list = jsonOf(config?.extraConfig.get(NETWORKS_KEY) ?? '[]');
      const groups = Array.isArray(list) ? list.map((one: { portGroup?: unknown }) => one?.portGroup) : null;
      return [config?.extraConfig.get(VCH_KEY) ?? '', groups];
    }),
  );
  for (const [vch, groups] of networks) {
    const endpoint = check.store.machines.find(
      (one) => isEndpoint(one) && one.config?.extraConfig.get(VCH_KEY) === vch,
    );
    if (endpoint === undefined) continue;
    if (groups === null)
      damage(check, endpoint.path, {
        code: 'network.record',
        what: 'the record of networks cannot be read',
        means: 'the networks that users made are gone; containers on them do not start',
        todo: "make the networks anew ('docker network create')",
      });
    for (const group of groups ?? [])
      if (typeof group !== 'string' || !known.has(group))
        damage(check, endpoint.path, {
          code: 'network.portGroup',
          what: `a network's port group, '${String(group)}', is not there`,
          means: 'containers on the network do not start',
          todo: "remove the network and make it anew ('docker network rm', 'docker network create')",
        });
  }
  for (const [group, vch] of Object.entries(owners)) {
    const groups = networks.get(vch);
    if (groups === null || groups?.includes(group)) continue;
    const where = relative(check.store.paths.stateDir, path);
    check.leftover(
      {
        code: 'network.orphan',
        where,
        what: `port group '${group}' belongs to no network of virtual container host ${vch}`,
        means: 'the network was being made or removed when the engine ended',
        todo: 'nothing: it is removed when the engine starts',
      },
      `port group '${group}' has no network; one may just be being made or removed`,
    );
  }
}

function checkAccess(check: Check): void {
  const path = check.store.paths.accessFile;
  const text = textOf(path);
  if (text === null) return;
  const parsed = accessFile.safeParse(jsonOf(text));
  if (!parsed.success) {
    damage(check, path, {
      code: 'access.record',
      what: 'the record of users, roles and permissions cannot be read',
      means: 'the embedded host does not start',
      todo: "restore it from a backup; or put it aside, start the host, and run 'npm start' again, which makes the endpoint's login anew",
    });
    return;
  }
  const { users, roles, permissions } = parsed.data;
  const names = new Set(users.map(({ name }) => name));
  const ids = new Set(roles.map(({ id }) => id));
  for (const { principal, roleId, entity } of permissions)
    if (!names.has(principal) || (roleId > LAST_SYSTEM_ROLE && !ids.has(roleId)))
      damage(check, path, {
        code: 'access.permission',
        what: `${principal} has a permission on ${entity.value} with role ${roleId}; ${names.has(principal) ? 'that role' : 'that user'} is not there`,
        means: 'the permission has no effect',
        todo: "run 'npm start' (or 'vic-machine configure'), which sets permissions again",
      });
}

function checkUsers(check: Check): void {
  const path = join(check.store.paths.stateDir, 'endpoint-users.json');
  const text = textOf(path);
  if (text === null) return;
  const parsed = usersFile.safeParse(jsonOf(text));
  if (!parsed.success) {
    damage(check, path, {
      code: 'users.record',
      what: 'the record of the numbers that endpoints run as cannot be read',
      means: 'endpoints do not start',
      todo: 'put the file aside while the host is stopped: numbers are given anew',
    });
    return;
  }
  const numbers = new Map<number, string>();
  for (const [directory, number] of Object.entries(parsed.data)) {
    const other = numbers.get(number);
    if (other !== undefined)
      damage(check, path, {
        code: 'users.twice',
        what: `the endpoints in ${other} and ${directory} run as the same user, ${number}`,
        means: "each can read the other's files",
        todo: 'stop the host and remove one of the two lines: that endpoint gets another number',
      });
    numbers.set(number, directory);
  }
}

/** Drafts of files, and uploads, that were never put in place. */
const DRAFT = /(\.new|\.caisson-upload)$/;

function checkDrafts(check: Check): void {
  const { paths, datastores, hosts } = check.store;
  const directories = new Set([
    paths.stateDir,
    ...datastores.flatMap(({ directory }) => [directory, ...namesIn(directory).map((name) => join(directory, name))]),
    ...hosts.flatMap(({ directory }) =>
      ['', 'kv', 'images', 'volumes'].flatMap((part) => {
        const at = join(directory, part);
        return [at, ...(part === 'kv' ? [] : namesIn(at).map((name) => join(at, name)))];
      }),
    ),
  ]);
  for (const directory of directories) {
    if (!isDirectory(directory)) continue;
    for (const name of namesIn(directory)) {
      const path = join(directory, name);
      if (!DRAFT.test(name) || isDirectory(path)) continue;
      const where = relative(paths.stateDir, path);
      check.leftover(
        {
          code: 'file.draft',
          where,
          what: 'it is a file that was being written when the engine ended',
          means: 'it takes space; what it was to replace is as it was',
          todo: 'nothing, or remove it with --repair',
          repair: { kind: 'remove', path },
        },
        'it may be being written',
      );
    }
  }
}
