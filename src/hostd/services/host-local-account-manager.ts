/** HostLocalAccountManager: users of this host. The administrator is not one of them; its password is in the state directory. */

import type { Accounts } from '../access/accounts.js';
import { fault } from '../faults.js';
import { ManagedObject } from '../objects/managed-object.js';
import { ACCOUNT_MANAGER } from '../references.js';

interface AccountSpec {
  id: string;
  password?: string;
  description?: string;
}

/** Makes, changes and removes users. */
export class HostLocalAccountManager extends ManagedObject {
  /** @param changed told of a user whose sessions must not go on */
  constructor(
    private readonly accounts: Accounts,
    private readonly changed: (user: string) => void,
  ) {
    super('HostLocalAccountManager', ACCOUNT_MANAGER.value);
  }

  override get types(): string[] {
    return ['HostLocalAccountManager'];
  }

  property(): unknown {
    return undefined;
  }

  propertyNames(): string[] {
    return [];
  }

  /** @throws AlreadyExists, InvalidArgument */
  async CreateUser({ user }: { user: AccountSpec }): Promise<void> {
    if (user.password === undefined)
      throw fault('InvalidArgument', 'A user needs a password', { invalidProperty: 'user.password' });
    await this.accounts.createUser(user.id, user.password, user.description ?? '');
  }

  /** @throws UserNotFound, InvalidArgument */
  async UpdateUser({ user }: { user: AccountSpec }): Promise<void> {
    const { id, password, description } = user;
    await this.accounts.updateUser(id, {
      ...(password === undefined ? {} : { password }),
      ...(description === undefined ? {} : { description }),
    });
    if (password !== undefined) this.changed(id);
  }

  /** @throws UserNotFound */
  async RemoveUser({ userName }: { userName: string }): Promise<void> {
    await this.accounts.removeUser(userName);
    this.changed(userName);
  }
}
