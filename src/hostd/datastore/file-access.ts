/**
 * Which files of the datastore a caller may read or write. An administrator: all. Others: files of the virtual container hosts into whose
 * pool they may put VMs, and files in the directories of their own VMs. vSphere only has permissions for a whole datastore; here
 * `Datastore.Browse` and `Datastore.FileManagement` are needed too, but are not enough.
 */
import { dirname } from 'node:path';
import type { ManagedObjectReference } from '../../vim25/server.js';
import { type Caller, noPermission, restrictedCaller } from '../access/caller.js';
import type { GuardedObject, GuardedObjects } from '../access/guarded-object.js';
import { isEndpointConfig, type Scope, scopeOf } from '../access/scope.js';
import { datastoreRef } from '../references.js';
import type { DatastorePaths } from './datastore-paths.js';

/** What is to be done with a file. `own`: a directory of its own for a new machine. */
export type Need = 'read' | 'write' | 'own';

/** Matches the configuration of a VM and whatever is written in its place. */
const CONFIGURATION = /\.vmx/i;

/** A machine, for what is its own on the datastore. */
export interface FileOwner extends GuardedObject {
  /** Local path of its directory. */
  readonly directory: string;
  readonly pool: ManagedObjectReference;
  readonly config: { extraConfig: ReadonlyMap<string, string> };
}

/** A directory of this machine, and who may do what below it. */
interface Owned {
  directory: string;
  may(caller: Caller, need: Need): boolean;
  /** It is a VM's own: the directory itself stays. */
  machine: boolean;
}

const inside = (path: string, directory: string): boolean => path === directory || path.startsWith(`${directory}/`);

/** Decides for all datastores. Paths are local ones, without links and `..`. */
export class FileAccess {
  constructor(
    private readonly paths: DatastorePaths,
    private readonly objects: GuardedObjects,
    private readonly machines: () => FileOwner[],
  ) {}

  /** @throws NoPermission */
  check(path: string, need: Need): void {
    const caller = restrictedCaller();
    if (caller === undefined) return;
    const privilege = need === 'read' ? 'Datastore.Browse' : 'Datastore.FileManagement';
    const allowed =
      caller.has(this.datastoreOf(path), privilege) &&
      (need === 'own' ? this.mayOwn(caller, path) : this.may(caller, path, need));
    if (!allowed) throw noPermission(this.datastoreOf(path).ref, privilege);
  }

  private datastoreOf(path: string): GuardedObject {
    return this.objects.get(datastoreRef(this.paths.placeOf(path).name));
  }

  /** True for a file that the caller may read. */
  mayRead(path: string): boolean {
    const caller = restrictedCaller();
    return (
      caller === undefined || (caller.has(this.datastoreOf(path), 'Datastore.Browse') && this.may(caller, path, 'read'))
    );
  }

  private may(caller: Caller, path: string, need: Need): boolean {
    if (need === 'write' && CONFIGURATION.test(this.paths.relative(path))) return false;
    const owned = this.owned();
    // The innermost directory counts: a directory inside somebody's may be somebody else's.
    const [innermost] = owned
      .filter(({ directory }) => inside(path, directory))
      .sort((a, b) => b.directory.length - a.directory.length);
    if (innermost === undefined || !innermost.may(caller, need)) return false;
    if (need === 'read') return true;
    if (innermost.machine && innermost.directory === path) return false;
    return owned.every(
      (other) => other.directory === path || !inside(other.directory, path) || other.may(caller, need),
    );
  }

  /** True for a directory beside those of other VMs in which nobody can have anything yet. */
  private mayOwn(caller: Caller, path: string): boolean {
    if (this.paths.isRoot(path)) return false;
    const { machines } = this.scopes(caller);
    if (!machines.some((one) => this.local(one) === dirname(path))) return false;
    // The directories of a virtual container host are made when they are first needed.
    return !this.owned().some(({ directory }) => inside(directory, path));
  }

  /** True for a socket that a VM of the caller's may be connected to. */
  maySocket(path: string): boolean {
    const caller = restrictedCaller();
    return caller === undefined || this.scopes(caller).sockets.includes(dirname(path));
  }

  private scopes(caller: Caller): Scope {
    const found = this.machines().flatMap((vm) => {
      const scope = isEndpointConfig(vm.config.extraConfig) ? scopeOf(vm.config.extraConfig) : null;
      return scope !== null && this.hasPool(caller, vm) ? [scope] : [];
    });
    return {
      files: found.flatMap(({ files }) => files),
      machines: found.flatMap(({ machines }) => machines),
      sockets: found.flatMap(({ sockets }) => sockets),
    };
  }

  private hasPool(caller: Caller, vm: FileOwner): boolean {
    const pool = this.objects.find(vm.pool);
    return pool !== undefined && caller.has(pool, 'Resource.AssignVMToPool');
  }

  /** All directories that belong to somebody. */
  private owned(): Owned[] {
    return this.machines().flatMap((vm): Owned[] => {
      const own = {
        directory: vm.directory,
        machine: true,
        may: (caller: Caller, need: Need): boolean =>
          !isEndpointConfig(vm.config.extraConfig) &&
          caller.has(vm, need === 'read' ? 'System.Read' : 'VirtualMachine.Config.EditDevice'),
      };
      const scope = isEndpointConfig(vm.config.extraConfig) ? scopeOf(vm.config.extraConfig) : null;
      if (scope === null) return [own];
      const may = (caller: Caller): boolean => this.hasPool(caller, vm);
      const files = scope.files.flatMap((file) => this.local(file) ?? []);
      return [own, ...files.map((directory) => ({ directory, machine: false, may }))];
    });
  }

  /** The local path of a datastore path; undefined for other paths. */
  private local(datastorePath: string): string | undefined {
    try {
      return this.paths.resolve(datastorePath);
    } catch {
      return undefined;
    }
  }
}
