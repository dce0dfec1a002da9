/** The host's users, roles and permissions, except for its administrator. They are kept in `access.json`, which only root may read. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { logger } from '../../common/log.js';
import { Saver } from '../../common/saver.js';
import { writeWhole } from '../../common/write-whole.js';
import type { ManagedObjectReference } from '../../vim25/server.js';
import { fault } from '../faults.js';
import { hashPassword, PasswordChecks } from './passwords.js';
import { type Role, SYSTEM_ROLES } from './roles.js';

const log = logger('accounts');
const MAX_USERS = 1000;
const MAX_ROLES = 200;
const MAX_PERMISSIONS = 20_000;
const MAX_PASSWORD = 256;
const FIRST_ROLE = 10;

const stored = z.object({
  users: z.array(z.object({ name: z.string(), description: z.string(), salt: z.string(), hash: z.string() })),
  roles: z.array(z.object({ id: z.number(), name: z.string(), privileges: z.array(z.string()) })),
  permissions: z.array(
    z.object({
      entity: z.object({ type: z.string(), value: z.string() }),
      principal: z.string(),
      roleId: z.number(),
      propagate: z.boolean(),
    }),
  ),
  nextRole: z.number(),
});

/** A role granted to a user on an entity. */
export interface GrantedRole {
  entity: ManagedObjectReference;
  principal: string;
  roleId: number;
  /** Whether it also holds for everything below the entity. */
  propagate: boolean;
}

const invalidArgument = (property: string, message: string): Error =>
  fault('InvalidArgument', message, { invalidProperty: property });

/** Who may log in, and what they may do. A change is on disk before the call is answered. */
export class Accounts {
  private data: z.infer<typeof stored> = { users: [], roles: [], permissions: [], nextRole: FIRST_ROLE };
  private byPrincipal = new Map<string, Map<string, GrantedRole>>();
  private readonly checks = new PasswordChecks();
  /** Called after each change. */
  onChange: () => void = () => undefined;
  private readonly saver = new Saver(() => writeWhole(this.file, JSON.stringify(this.data), 0o600));

  /** @param reserved the administrator's name, which no user can have */
  constructor(
    private readonly file: string,
    private readonly reserved: string,
  ) {}

  async load(): Promise<void> {
    const text = await readFile(this.file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    });
    if (text !== null) this.data = stored.parse(JSON.parse(text));
    this.index();
  }

  private index(): void {
    this.byPrincipal = new Map();
    for (const one of this.data.permissions) {
      const own = this.byPrincipal.get(one.principal) ?? new Map<string, GrantedRole>();
      this.byPrincipal.set(one.principal, own.set(one.entity.value, one));
    }
  }

  private async changed(): Promise<void> {
    this.index();
    this.onChange();
    await this.saver.save();
  }

  // --- users --------------------------------------------------------------------------------------------------------

  isUser(name: string): boolean {
    return this.data.users.some((user) => user.name === name);
  }

  /** @throws AlreadyExists, InvalidArgument */
  async createUser(name: string, password: string, description: string): Promise<void> {
    if (!/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$/.test(name))
      throw invalidArgument('user.id', 'A user name has letters, digits, and _ . @ - after the first, 64 at most');
    if (this.isUser(name) || name === this.reserved)
      throw fault('AlreadyExists', `The user '${name}' already exists`, { name });
    if (this.data.users.length >= MAX_USERS) throw invalidArgument('user', `There are ${MAX_USERS} users at most`);
    const hash = await hashPassword(checkPassword(password));
    if (this.isUser(name)) throw fault('AlreadyExists', `The user '${name}' already exists`, { name });
    this.data.users.push({ name, description: description.slice(0, 256), ...hash });
    await this.changed();
  }

  /** @throws UserNotFound, InvalidArgument */
  async updateUser(name: string, change: { password?: string; description?: string }): Promise<void> {
    const hash = change.password === undefined ? {} : await hashPassword(checkPassword(change.password));
    const user = this.data.users.find((one) => one.name === name);
    if (user === undefined) throw noSuchUser(name);
    Object.assign(user, hash);
    if (change.description !== undefined) user.description = change.description.slice(0, 256);
    this.checks.forget(name);
    await this.changed();
  }

  /** Removes the user's permissions too. @throws UserNotFound */
  async removeUser(name: string): Promise<void> {
    if (!this.isUser(name)) throw noSuchUser(name);
    this.data.users = this.data.users.filter((user) => user.name !== name);
    this.data.permissions = this.data.permissions.filter(({ principal }) => principal !== name);
    this.checks.forget(name);
    await this.changed();
  }

  /** Whether this is the user's password. @throws RequestCanceled when too many are asking */
  async accepts(name: string, password: string): Promise<boolean> {
    const user = this.data.users.find((one) => one.name === name);
    return user !== undefined && password.length <= MAX_PASSWORD && (await this.checks.matches(name, password, user));
  }

  // --- roles --------------------------------------------------------------------------------------------------------

  roles(): Role[] {
    return [...SYSTEM_ROLES, ...this.data.roles];
  }

  role(id: number): Role | undefined {
    return SYSTEM_ROLES.find((role) => role.id === id) ?? this.data.roles.find((role) => role.id === id);
  }

  /** @throws AlreadyExists, InvalidName, InvalidArgument */
  async addRole(name: string, privileges: string[]): Promise<number> {
    const role = { id: this.data.nextRole, name: this.checkRoleName(name), privileges: checkPrivileges(privileges) };
    if (this.data.roles.length >= MAX_ROLES) throw invalidArgument('name', `There are ${MAX_ROLES} roles at most`);
    this.data.nextRole++;
    this.data.roles.push(role);
    await this.changed();
    return role.id;
  }

  /** @throws NotFound, AlreadyExists, InvalidName, InvalidArgument for a role of the system */
  async updateRole(id: number, name: string, privileges: string[]): Promise<void> {
    const role = this.ownRole(id);
    if (name !== role.name) role.name = this.checkRoleName(name);
    role.privileges = checkPrivileges(privileges);
    await this.changed();
  }

  /** @throws NotFound, RemoveFailed while somebody has it, InvalidArgument for a role of the system */
  async removeRole(id: number, evenIfUsed: boolean): Promise<void> {
    this.ownRole(id);
    if (!evenIfUsed && this.data.permissions.some((one) => one.roleId === id))
      throw fault('RemoveFailed', 'The role is in use');
    this.data.roles = this.data.roles.filter((role) => role.id !== id);
    this.data.permissions = this.data.permissions.filter((one) => one.roleId !== id);
    await this.changed();
  }

  private ownRole(id: number): z.infer<typeof stored>['roles'][number] {
    if (SYSTEM_ROLES.some((role) => role.id === id)) throw invalidArgument('roleId', 'A role of the system stays');
    const role = this.data.roles.find((one) => one.id === id);
    if (role === undefined) throw fault('NotFound', `There is no role ${id}`);
    return role;
  }

  private checkRoleName(name: string): string {
    if (name === '' || name.length > 80)
      throw fault('InvalidName', 'A role has a name of 80 characters at most', { name });
    if (this.roles().some((role) => role.name === name))
      throw fault('AlreadyExists', `The role '${name}' already exists`, { name });
    return name;
  }

  // --- permissions --------------------------------------------------------------------------------------------------

  permissions(): readonly GrantedRole[] {
    return this.data.permissions;
  }

  permission(principal: string, entity: ManagedObjectReference): GrantedRole | undefined {
    return this.byPrincipal.get(principal)?.get(entity.value);
  }

  /** Sets or replaces. @throws NotFound, InvalidArgument, UserNotFound */
  async permit(given: readonly GrantedRole[]): Promise<void> {
    for (const { principal, roleId } of given) {
      if (!this.isUser(principal)) throw noSuchUser(principal);
      if (this.role(roleId) === undefined) throw fault('NotFound', `There is no role ${roleId}`);
    }
    const replaced = (one: GrantedRole): boolean =>
      given.some(({ principal, entity }) => principal === one.principal && entity.value === one.entity.value);
    const kept = this.data.permissions.filter((one) => !replaced(one));
    if (kept.length + given.length > MAX_PERMISSIONS) throw invalidArgument('permission', 'There are too many');
    this.data.permissions = [...kept, ...given];
    await this.changed();
  }

  /** @throws NotFound */
  async withdraw(principal: string, entity: ManagedObjectReference): Promise<void> {
    if (this.permission(principal, entity) === undefined) throw fault('NotFound', 'There is no such permission');
    this.data.permissions = this.data.permissions.filter(
      (one) => one.principal !== principal || one.entity.value !== entity.value,
    );
    await this.changed();
  }

  /** Removes the permissions of an entity that is gone, since another entity may get its id later. */
  entityRemoved({ value }: ManagedObjectReference): void {
    if (!this.data.permissions.some(({ entity }) => entity.value === value)) return;
    this.data.permissions = this.data.permissions.filter(({ entity }) => entity.value !== value);
    void this.changed().catch((error: unknown) => log.error({ err: error }, 'saving permissions failed'));
  }
}

function noSuchUser(name: string): Error {
  return fault('UserNotFound', `There is no user '${name.slice(0, 64)}'`, { principal: name, unresolved: true });
}

function checkPassword(password: string): string {
  if (password.length < 7 || password.length > MAX_PASSWORD)
    throw invalidArgument('user.password', `A password has 7 to ${MAX_PASSWORD} characters`);
  return password;
}

function checkPrivileges(privileges: string[]): string[] {
  if (privileges.length > 1000 || privileges.some((one) => !/^[A-Za-z0-9_.-]{1,128}$/.test(one)))
    throw invalidArgument('privIds', 'These are no names of privileges');
  return [...new Set([...privileges, 'System.Anonymous', 'System.View', 'System.Read'])];
}
