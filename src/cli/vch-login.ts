/**
 * The login of a virtual container host: a user who sees and may do only what the host needs, so that whoever takes over its endpoint has
 * not taken over the target. On a single host (the embedded one, ESXi) vic-machine makes the user; a vCenter has no users of its own:
 * there `--ops-user` names one, or the endpoint uses the target's login.
 */
import { randomBytes } from 'node:crypto';
import { invalid, isKind } from '../common/errors.js';
import { type ManagedObjectReference, VimClient, VimFault } from '../vim25/index.js';
import type { Login } from './target.js';

/** A user given for the endpoint. */
export interface OpsUser {
  user: string;
  password: string;
  /** Whether to set its permissions. */
  grant: boolean;
}

/** What a host's user gets permissions on. */
export interface LoginPlaces {
  pool: ManagedObjectReference;
  vmFolder: ManagedObjectReference;
  datacenter: ManagedObjectReference;
  datastores: ManagedObjectReference[];
  networks: ManagedObjectReference[];
  endpoint: ManagedObjectReference;
  /** Whether it may make port groups. */
  makesPortGroups: boolean;
  /** Where it makes them; undefined: on the hosts. */
  switch?: ManagedObjectReference | undefined;
}

const READ_ONLY = -2;

/** Roles by name, with their privileges (vSphere API reference: required privileges of each method that the port layer calls). */
const ROLES = {
  'caisson-vch': [
    'Resource.AssignVMToPool',
    ...[
      'AddExistingDisk',
      'AddNewDisk',
      'AddRemoveDevice',
      'AdvancedConfig',
      'Annotation',
      'CPUCount',
      'EditDevice',
    ].map((name) => `VirtualMachine.Config.${name}`),
    ...['Memory', 'RemoveDisk', 'Rename', 'Resource', 'Settings'].map((name) => `VirtualMachine.Config.${name}`),
    ...['AnswerQuestion', 'PowerOff', 'PowerOn', 'Reset', 'Suspend'].map((name) => `VirtualMachine.Interact.${name}`),
    'VirtualMachine.Inventory.Create',
    'VirtualMachine.Inventory.Delete',
  ],
  'caisson-vch-folder': ['VirtualMachine.Inventory.Create'],
  'caisson-vch-datastore': ['Datastore.AllocateSpace', 'Datastore.Browse', 'Datastore.FileManagement'],
  'caisson-vch-network': ['Network.Assign'],
  // Cards on its networks, and the keys where it keeps them. The embedded host allows no other changes.
  'caisson-vch-endpoint': ['VirtualMachine.Config.AddRemoveDevice', 'VirtualMachine.Config.AdvancedConfig'],
  // The embedded host lets it change only port groups that it has made.
  'caisson-vch-host': ['Host.Config.Network'],
  // On a distributed switch, whose other port groups it could remove too: only where an administrator allows the making of networks.
  'caisson-vch-switch': ['DVPortgroup.Create', 'DVPortgroup.Delete', 'Network.Assign'],
} as const;

/** The name of the user created for a host. */
export function vchUserName(id: string): string {
  return `vch-${id.slice(0, 16)}`;
}

/** Long, with all the kinds of characters that ESXi demands. */
function newPassword(): string {
  return `${randomBytes(24).toString('base64url')}.aA1`;
}

/** Creates the user of a new host; returns the target's login if the target has no users of its own. @throws conflict when the user exists */
export async function makeVchLogin(client: VimClient, id: string, target: Login): Promise<Login> {
  const { accountManager } = client.serviceContent;
  if (accountManager === undefined) return target;
  const [user, password] = [vchUserName(id), newPassword()];
  await client.call('CreateUser', accountManager, {
    user: {
      $type: 'HostPosixAccountSpec',
      id: user,
      password,
      description: `Virtual container host ${id}`,
      shellAccess: false,
    },
  });
  return { ...target, user, password };
}

/** Gives a host's user a new password, or creates the user if it is gone. */
async function renewVchLogin(client: VimClient, id: string, target: Login): Promise<Login> {
  try {
    return await makeVchLogin(client, id, target);
  } catch (error) {
    if (!isKind(error, 'conflict')) throw error;
  }
  const [user, password] = [vchUserName(id), newPassword()];
  await client.call('UpdateUser', client.serviceContent.accountManager!, {
    user: { $type: 'HostAccountSpec', id: user, password },
  });
  return { ...target, user, password };
}

/**
 * The login of an existing host: its own, if that still works. A host that an earlier version made has the target's login and gets a
 * user of its own.
 */
export async function keepVchLogin(
  client: VimClient,
  id: string,
  known: Omit<Login, 'thumbprint'>,
  target: Login,
): Promise<Login> {
  const own = { ...target, user: known.user, password: known.password };
  if (known.user === target.user) return renewVchLogin(client, id, target);
  try {
    await (await VimClient.connect(own)).close();
    return own;
  } catch (error) {
    if (!isKind(error, 'unauthorized') || known.user !== vchUserName(id)) throw error;
    return renewVchLogin(client, id, target);
  }
}

/** Removes the user created for a host, with all its permissions, and the roles too if nobody else has any of them. */
export async function removeVchLogin(client: VimClient, id: string): Promise<void> {
  const { accountManager } = client.serviceContent;
  if (accountManager === undefined) return;
  await client.call('RemoveUser', accountManager, { userName: vchUserName(id) }).catch((error: unknown) => {
    // A host that an earlier version made, or one whose login was given.
    if (!isKind(error, 'notFound')) throw error;
  });
  const manager = client.serviceContent.authorizationManager;
  if (manager !== undefined) await removeRoles(client, manager);
}

async function removeRoles(client: VimClient, manager: ManagedObjectReference): Promise<void> {
  const [object] = await client.retrieve([manager], 'AuthorizationManager', ['roleList']);
  const ours = (object?.props.roleList ?? []).filter(({ name }) => name in ROLES);
  const held = await Promise.all(
    ours.map(({ roleId }) => client.call('RetrieveRolePermissions', manager, { roleId }).catch(() => null)),
  );
  // All or none: an existing host uses every one of them.
  if (held.some((permissions) => permissions === null || permissions.length > 0)) return;
  for (const { roleId } of ours)
    await client.call('RemoveAuthorizationRole', manager, { roleId, failIfUsed: true }).catch((error: unknown) => {
      // Another vic-machine has started to use it, or has removed it.
      if (!(error instanceof VimFault && (error.is('RemoveFailed') || error.is('NotFound')))) throw error;
    });
}

/** Sets the user's permissions; existing ones stay as they are. @throws forbidden when the caller may not do that */
export async function grantVchPermissions(client: VimClient, user: string, places: LoginPlaces): Promise<void> {
  const manager = client.serviceContent.authorizationManager;
  if (manager === undefined) throw invalid('the target has no permissions');
  const [compute] = await client.retrieve([places.pool], 'ResourcePool', ['owner']);
  const owner = compute?.props.owner;
  if (owner === undefined) throw invalid('the resource pool has no owner');
  const [hosts] = await client.retrieve([owner], 'ComputeResource', ['host']);
  const roles = await ensureRoles(client, manager, places.switch !== undefined);
  const look = [client.serviceContent.rootFolder, places.datacenter, owner];
  const onHost = places.makesPortGroups && places.switch === undefined ? roles['caisson-vch-host'] : READ_ONLY;
  const grants: [ManagedObjectReference, number, boolean][] = [
    ...look.map((entity): [ManagedObjectReference, number, boolean] => [entity, READ_ONLY, false]),
    ...(hosts?.props.host ?? []).map((host): [ManagedObjectReference, number, boolean] => [host, onHost, false]),
    [places.endpoint, roles['caisson-vch-endpoint'], false],
    [places.vmFolder, roles['caisson-vch-folder'], false],
    ...places.datastores.map((datastore): [ManagedObjectReference, number, boolean] => [
      datastore,
      roles['caisson-vch-datastore'],
      false,
    ]),
    ...places.networks.map((network): [ManagedObjectReference, number, boolean] => [
      network,
      roles['caisson-vch-network'],
      false,
    ]),
    ...(places.switch === undefined
      ? []
      : [[places.switch, roles['caisson-vch-switch'], true] as [ManagedObjectReference, number, boolean]]),
    // All VMs of the host are in its pool.
    [places.pool, roles['caisson-vch'], true],
  ];
  for (const [entity, roleId, propagate] of grants)
    await client.call('SetEntityPermissions', manager, {
      entity,
      permission: [{ entity, principal: user, group: false, roleId, propagate }],
    });
}

async function ensureRoles(
  client: VimClient,
  manager: ManagedObjectReference,
  onSwitch: boolean,
): Promise<Record<keyof typeof ROLES, number>> {
  const [object] = await client.retrieve([manager], 'AuthorizationManager', ['roleList']);
  const known = object?.props.roleList ?? [];
  const ids: Partial<Record<keyof typeof ROLES, number>> = {};
  for (const [name, privIds] of Object.entries(ROLES) as [keyof typeof ROLES, readonly string[]][]) {
    // Hosts without such switches do not know its privileges.
    if (name === 'caisson-vch-switch' && !onSwitch) continue;
    const role = known.find((one) => one.name === name);
    if (role === undefined)
      ids[name] = await client.call('AddAuthorizationRole', manager, { name, privIds: [...privIds] });
    else {
      ids[name] = role.roleId;
      if (!privIds.every((privilege) => role.privilege?.includes(privilege)))
        await client.call('UpdateAuthorizationRole', manager, {
          roleId: role.roleId,
          newName: name,
          privIds: [...privIds],
        });
    }
  }
  return ids as Record<keyof typeof ROLES, number>;
}
