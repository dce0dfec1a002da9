/** AuthorizationManager: roles and permissions, as on a standalone ESXi host. There are no groups. */
import type { ManagedObjectReference, Permission } from '../../vim25/server.js';
import { type Authority, wirePermission } from '../access/authority.js';
import { mustHave, noPermission, restrictedCaller } from '../access/caller.js';
import { Effort } from '../access/effort.js';
import { PRIVILEGES } from '../access/roles.js';
import { fault } from '../faults.js';
import type { CallContext } from '../objects/call-context.js';
import { ManagedObject } from '../objects/managed-object.js';
import type { Registry } from '../objects/registry.js';
import { AUTHORIZATION_MANAGER, ROOT_FOLDER } from '../references.js';

const described = (key: string, label: string): object => ({ $type: 'ElementDescription', key, label, summary: label });
const groupOf = (privilege: string): string => privilege.split('.').slice(0, -1).join('.');

/** Says and decides who may do what. */
export class AuthorizationManager extends ManagedObject {
  constructor(
    private readonly authority: Authority,
    private readonly registry: Registry,
  ) {
    super('AuthorizationManager', AUTHORIZATION_MANAGER.value);
  }

  override get types(): string[] {
    return ['AuthorizationManager'];
  }

  property(name: string): unknown {
    switch (name) {
      case 'privilegeList':
        return PRIVILEGES.map((privId) => ({
          privId,
          onParent: false,
          name: privId.split('.').at(-1),
          privGroupName: groupOf(privId),
        }));
      case 'roleList':
        return this.authority.accounts.roles().map(({ id, name: role, privileges }) => ({
          roleId: id,
          system: id < 0,
          name: role,
          info: { $type: 'Description', label: role, summary: role },
          privilege: [...privileges],
        }));
      case 'description':
        return {
          privilege: PRIVILEGES.map((one) => described(one, one)),
          privilegeGroup: [...new Set(PRIVILEGES.map(groupOf))].map((one) => described(one, one)),
        };
      default:
        return undefined;
    }
  }

  propertyNames(): string[] {
    return ['privilegeList', 'roleList', 'description'];
  }

  // --- looking ------------------------------------------------------------------------------------------------------

  RetrieveAllPermissions(): object[] {
    return this.authority.permissions(restrictedCaller()?.principal ?? undefined).map(wirePermission);
  }

  RetrieveRolePermissions(args: { roleId: number }): object[] {
    if (this.authority.accounts.role(args.roleId) === undefined)
      throw fault('NotFound', `There is no role ${args.roleId}`);
    return this.RetrieveAllPermissions().filter((one) => (one as Permission).roleId === args.roleId);
  }

  RetrieveEntityPermissions(args: { entity: ManagedObjectReference; inherited: boolean }): object[] {
    const entity = this.registry.get(args.entity);
    const principal = restrictedCaller()?.principal ?? undefined;
    return this.authority.permissionsOn(entity, args.inherited, principal).map(wirePermission);
  }

  HasPrivilegeOnEntities(
    args: { entity: ManagedObjectReference[]; sessionId: string; privId?: string[] },
    context: CallContext,
  ): object[] {
    // A session is its holder's: nobody else may ask about it.
    if (args.sessionId !== context.session.user?.key) throw noPermission(ROOT_FOLDER, 'Sessions.ValidateSession');
    return this.availability(context.userName, args.entity, args.privId ?? []);
  }

  HasUserPrivilegeOnEntities(
    args: { entities: ManagedObjectReference[]; userName: string; privId?: string[] },
    context: CallContext,
  ): object[] {
    this.mustBeOwn(args.userName, context);
    return this.availability(args.userName, args.entities, args.privId ?? []);
  }

  FetchUserPrivilegeOnEntities(
    args: { entities: ManagedObjectReference[]; userName: string },
    context: CallContext,
  ): object[] {
    this.mustBeOwn(args.userName, context);
    new Effort().step(args.entities.length * PRIVILEGES.length);
    return args.entities.map((entity) => ({
      entity,
      privileges: [...this.authority.privileges(args.userName, this.registry.get(entity))],
    }));
  }

  private availability(principal: string, entities: ManagedObjectReference[], privileges: string[]): object[] {
    new Effort().step(entities.length * (1 + privileges.length));
    return entities.map((entity) => {
      const object = this.registry.get(entity);
      return {
        entity,
        privAvailability: privileges.map((privId) => ({
          privId,
          isGranted: this.authority.has(principal, object, privId),
        })),
      };
    });
  }

  private mustBeOwn(userName: string, { userName: caller }: CallContext): void {
    if (userName !== caller) mustHave(this.registry.get(ROOT_FOLDER), 'Authorization.ModifyPermissions');
  }

  // --- deciding -----------------------------------------------------------------------------------------------------

  /** @throws UserNotFound, NotFound, InvalidArgument for a group or an object that has no permissions */
  async SetEntityPermissions(args: { entity: ManagedObjectReference; permission?: Permission[] }): Promise<void> {
    const entity = this.entity(args.entity);
    const given = (args.permission ?? []).map(({ principal, group, roleId, propagate }) => {
      if (group)
        throw fault('InvalidArgument', 'This host has users and no groups', { invalidProperty: 'permission.group' });
      return { entity: entity.ref, principal, roleId, propagate };
    });
    this.mustNotExceed(entity, given);
    await this.authority.accounts.permit(given);
  }

  /** @throws NotFound */
  async RemoveEntityPermission(args: {
    entity: ManagedObjectReference;
    user: string;
    isGroup: boolean;
  }): Promise<void> {
    if (args.isGroup) throw fault('NotFound', 'This host has users and no groups');
    await this.authority.accounts.withdraw(args.user, this.entity(args.entity).ref);
  }

  AddAuthorizationRole(args: { name: string; privIds?: string[] }): Promise<number> {
    return this.authority.accounts.addRole(args.name, args.privIds ?? []);
  }

  UpdateAuthorizationRole(args: { roleId: number; newName: string; privIds?: string[] }): Promise<void> {
    return this.authority.accounts.updateRole(args.roleId, args.newName, args.privIds ?? []);
  }

  RemoveAuthorizationRole(args: { roleId: number; failIfUsed: boolean }): Promise<void> {
    return this.authority.accounts.removeRole(args.roleId, !args.failIfUsed);
  }

  private entity(ref: ManagedObjectReference): ManagedObject {
    const object = this.registry.get(ref);
    if (!object.isEntity())
      throw fault('InvalidArgument', `'${ref.value}' is not an entity with permissions`, { invalidProperty: 'entity' });
    return object;
  }

  /** Nobody may give permissions that go beyond their own. @throws NoPermission */
  private mustNotExceed(entity: ManagedObject, given: { roleId: number }[]): void {
    if (restrictedCaller() === undefined) return;
    for (const { roleId } of given)
      for (const privilege of this.authority.accounts.role(roleId)?.privileges ?? []) mustHave(entity, privilege);
  }
}
