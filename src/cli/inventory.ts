/** Finding things in a vSphere inventory by name, for vic-machine. */
import { invalid } from '../common/errors.js';
import type { ManagedObjectReference, VimClient } from '../vim25/index.js';

/** A named object of the inventory. */
export interface Named {
  ref: ManagedObjectReference;
  name: string;
}

type Listed =
  | 'Datacenter'
  | 'Datastore'
  | 'Network'
  | 'ResourcePool'
  | 'ComputeResource'
  | 'VirtualMachine'
  | 'HostSystem';

/** All objects of a type below the root folder. */
export async function listObjects(client: VimClient, type: Listed): Promise<Named[]> {
  const { viewManager, rootFolder } = client.serviceContent;
  if (viewManager === undefined) throw invalid('the target has no view manager: is it a vSphere host?');
  const view = await client.call('CreateContainerView', viewManager, {
    container: rootFolder,
    type: [type],
    recursive: true,
  });
  try {
    const [content] = await client.retrieve([view], 'ContainerView', ['view']);
    const refs = content?.props.view ?? [];
    if (refs.length === 0) return [];
    const objects = await client.retrieve(refs, type, ['name']);
    return objects.map((object) => ({ ref: object.ref, name: object.props.name ?? '' }));
  } finally {
    await client.call('DestroyView', view, {}).catch(() => undefined);
  }
}

/**
 * The object of that name, or the only one when no name is given.
 * @throws invalid naming what there is to choose from
 */
export async function findObject(
  client: VimClient,
  type: Listed,
  name: string | undefined,
  option: string,
): Promise<Named> {
  const all = await listObjects(client, type);
  const found = name === undefined ? all : all.filter((one) => one.name === name || one.ref.value === name);
  const [first] = found;
  if (first !== undefined && found.length === 1) return first;
  const names = all.map((one) => one.name).join(', ') || 'none';
  if (name === undefined) throw invalid(`${option} must be specified; suggested values: ${names}`);
  throw invalid(
    `${option} '${name}' ${found.length === 0 ? 'was not found' : 'is ambiguous'}; suggested values: ${names}`,
  );
}
