/**
 * Decides who may do what on which object; nothing else does. The rules are vSphere's: a role on the object itself overrides inherited
 * ones. Without one, the nearest propagating role counts, along each line of ancestors (a VM has two: its folder and its resource pool).
 * Administrators have the role Admin on the root folder.
 */
import type { ManagedObjectReference } from '../../vim25/server.js';
import { isReference, PROPERTY_COLLECTOR, ROOT_FOLDER } from '../references.js';
import type { Accounts, GrantedRole } from './accounts.js';
import type { Caller } from './caller.js';
import type { GuardedObject, GuardedObjects } from './guarded-object.js';
import { Holdings } from './holdings.js';
import { ADMINISTRATOR, LOOKING } from './roles.js';

const MAX_DEPTH = 64;

/** Singletons that every logged-in user may use. What they do and answer depends on the caller. */
const FOR_EVERYBODY = new Set([
  'ServiceInstance',
  'SessionManager',
  'AuthorizationManager',
  'ViewManager',
  'SearchIndex',
  'EventManager',
  'TaskManager',
  'FileManager',
  'VirtualDiskManager',
  'HostDatastoreBrowser',
  'EnvironmentBrowser',
  'HostNetworkSystem',
]);

/** True for a VM that hostd runs as a process. */
export type IsEndpoint = (object: GuardedObject) => boolean;

/**
 * What others than administrators may do with an endpoint VM, if their role says so. Only network cards and a few keys can be changed
 * (`vm/endpoint-access.ts`).
 */
const ON_ENDPOINTS = [...LOOKING, 'VirtualMachine.Config.AddRemoveDevice', 'VirtualMachine.Config.AdvancedConfig'];
/** What a login may do with port groups that its virtual container host has made, without any role on them. */
const ON_OWN_NETWORKS = [...LOOKING, 'Network.Assign'];

/** See the file's head. */
export class Authority {
  /** The administrator's own permission, which is not stored. */
  private readonly builtIn: GrantedRole;
  constructor(
    readonly accounts: Accounts,
    /** The administrator's name; {@link Accounts} does not have this user. */
    private readonly administrator: string,
    private readonly registry: GuardedObjects,
    private readonly isEndpoint: IsEndpoint,
    /** The resource pool of a virtual container host, by its id. */
    private readonly poolOf: (vch: string) => GuardedObject | undefined,
    /** What hostd holds in memory for each user. */
    readonly holdings = new Holdings(),
  ) {
    this.builtIn = { entity: ROOT_FOLDER, principal: administrator, roleId: ADMINISTRATOR, propagate: true };
  }

  isAdministrator(principal: string | null): boolean {
    if (principal === null) return false;
    if (principal === this.administrator) return true;
    const granted = this.accounts.permission(principal, ROOT_FOLDER);
    return granted?.roleId === ADMINISTRATOR && granted.propagate;
  }

  /** Permissions on an entity, of one principal or of all. With `inherited`, those that propagate down to it as well. */
  permissionsOn(object: GuardedObject, inherited: boolean, principal?: string): GrantedRole[] {
    const own = this.permissions(principal).filter(({ entity }) => entity.value === object.ref.value);
    if (!inherited) return own;
    const above = this.parents(object).flatMap((parent) => this.permissionsOn(parent, true, principal));
    return [...new Set([...own, ...above.filter(({ propagate }) => propagate)])];
  }

  /** All permissions, or those of one principal. */
  permissions(principal?: string): GrantedRole[] {
    return [this.builtIn, ...this.accounts.permissions()].filter(
      (one) => principal === undefined || one.principal === principal,
    );
  }

  /** Roles that a principal has on an entity, own or inherited. */
  rolesOn(principal: string, object: GuardedObject): number[] {
    if (this.isAdministrator(principal)) return [ADMINISTRATOR];
    const own = this.accounts.permission(principal, object.ref);
    return own === undefined ? this.inherited(principal, object, 0) : [own.roleId];
  }

  private inherited(principal: string, object: GuardedObject, depth: number): number[] {
    if (depth > MAX_DEPTH) return [];
    return this.parents(object).flatMap((parent) => {
      const granted = this.accounts.permission(principal, parent.ref);
      return granted?.propagate === true ? [granted.roleId] : this.inherited(principal, parent, depth + 1);
    });
  }

  private parents(object: GuardedObject): GuardedObject[] {
    const refs = [
      object.property('parent'),
      object.ref.type === 'VirtualMachine' ? object.property('resourcePool') : undefined,
    ] as (ManagedObjectReference | undefined)[];
    return refs.flatMap((ref) => (ref === undefined ? [] : (this.registry.find(ref) ?? [])));
  }

  /** Names of the privileges that a principal has on an entity. */
  privileges(principal: string, object: GuardedObject): string[] {
    const all = this.rolesOn(principal, object).flatMap((id) => this.accounts.role(id)?.privileges ?? []);
    return [...new Set(all)].filter((privilege) => this.has(principal, object, privilege));
  }

  has(principal: string | null, object: GuardedObject, privilege: string): boolean {
    if (principal === null) return false;
    if (this.isAdministrator(principal)) return true;
    // An endpoint is a process on this machine, and its configuration says what it may do.
    if (!object.isEntity() || (this.isEndpoint(object) && !ON_ENDPOINTS.includes(privilege))) return false;
    if (this.rolesOn(principal, object).some((id) => this.accounts.role(id)?.privileges.includes(privilege)))
      return true;
    return ON_OWN_NETWORKS.includes(privilege) && this.isOwn(principal, object);
  }

  /** True for a port group that a virtual container host of the principal's has made. */
  private isOwn(principal: string, { madeBy }: GuardedObject): boolean {
    const pool = madeBy === undefined ? undefined : this.poolOf(madeBy);
    return pool !== undefined && this.has(principal, pool, 'Resource.AssignVMToPool');
  }

  /** Whether a caller may know of an object. */
  sees(caller: Pick<Caller, 'principal' | 'owns'>, object: GuardedObject): boolean {
    const { principal } = caller;
    // This is where every client begins.
    if (principal === null) return object.ref.type === 'ServiceInstance';
    if (this.isAdministrator(principal)) return true;
    const { belongsTo } = object;
    if (belongsTo !== undefined)
      return belongsTo.user === principal || this.has(principal, belongsTo.about, 'System.View');
    if (object.isEntity()) return this.has(principal, object, 'System.View');
    return FOR_EVERYBODY.has(object.ref.type) || object.ref.value === PROPERTY_COLLECTOR.value || caller.owns(object);
  }

  /** A value without references to objects that the caller may not see. If there are none, it is the same value. */
  redact<T>(caller: Pick<Caller, 'principal' | 'owns'>, value: T): T {
    const hidden = (ref: ManagedObjectReference): boolean => {
      const object = this.registry.find(ref);
      return object !== undefined && !this.sees(caller, object);
    };
    const clean = (at: unknown): unknown => {
      if (typeof at !== 'object' || at === null || at instanceof Date || Buffer.isBuffer(at)) return at;
      if (Array.isArray(at)) {
        const kept = at.map(clean);
        return kept.every((one, index) => one === at[index]) ? at : kept.filter((one) => one !== undefined);
      }
      if (isReference(at)) return hidden(at) ? undefined : at;
      let copy: Record<string, unknown> | null = null;
      for (const [key, inner] of Object.entries(at)) {
        const kept = clean(inner);
        if (kept === inner) continue;
        copy ??= { ...at };
        copy[key] = kept;
      }
      return copy ?? at;
    };
    return clean(value) as T;
  }
}

/** A permission as it goes on the wire. */
export function wirePermission(granted: GrantedRole): object {
  return { ...granted, group: false };
}
