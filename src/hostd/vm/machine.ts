/** A VM of the inventory, as seen by everything but the code that runs it. */
import type { ManagedObjectReference } from '../../vim25/server.js';
import { ENDPOINT_KEY } from '../access/scope.js';
import type { FileOwner } from '../datastore/file-access.js';
import type { ManagedObject } from '../objects/managed-object.js';
import type { VmConfig } from './vm-config.js';

export interface Machine extends ManagedObject, FileOwner {
  /** Local path of the .vmx file. */
  readonly vmx: string;
  /** Local path of the directory that contains the .vmx file. */
  readonly directory: string;
  readonly config: VmConfig;
  readonly pool: ManagedObjectReference;
  /** Has the switch treat the cards of a running VM as its configuration, and that of its virtual container host, says now. */
  checkCards(): Promise<void>;
}

/** True for a VM that hostd runs as a process. */
export function isEndpoint(object: object): boolean {
  const { config } = object as { config?: { extraConfig?: ReadonlyMap<string, string> } };
  return config?.extraConfig?.has(ENDPOINT_KEY) ?? false;
}
