/** Helpers for a simulator's inventory. */
import type { ManagedObjectReference, VimClient } from '../../src/vim25/index.js';

type Named =
  | 'VirtualMachine'
  | 'Datastore'
  | 'ResourcePool'
  | 'Datacenter'
  | 'Network'
  | 'HostSystem'
  | 'ComputeResource'
  | 'VirtualApp';

/** All objects of a type, by name. */
export async function inventory(client: VimClient, type: Named): Promise<Map<string, ManagedObjectReference>> {
  const { viewManager, rootFolder } = client.serviceContent;
  const view = await client.call('CreateContainerView', viewManager!, {
    container: rootFolder,
    type: [type],
    recursive: true,
  });
  const [content] = await client.retrieve([view], 'ContainerView', ['view']);
  const objects = await client.retrieve(content!.props.view ?? [], type, ['name']);
  await client.call('DestroyView', view, {});
  return new Map(objects.map((object) => [object.props.name!, object.ref]));
}

/** Where a VM can be created. */
export interface Place {
  folder: ManagedObjectReference;
  pool: ManagedObjectReference;
  datacenter: string;
  datastore: string;
}

/** The first datacenter, pool and datastore. */
export async function place(client: VimClient): Promise<Place> {
  const [datacenter, dc] = [...(await inventory(client, 'Datacenter'))][0]!;
  const [content] = await client.retrieve([dc], 'Datacenter', ['vmFolder']);
  const pools = await inventory(client, 'ResourcePool');
  const [datastore] = [...(await inventory(client, 'Datastore'))][0]!;
  return { folder: content!.props.vmFolder!, pool: [...pools.values()][0]!, datacenter, datastore };
}

/** A small VM without disks. */
export async function createVm(client: VimClient, name: string): Promise<ManagedObjectReference> {
  const { folder, pool, datastore } = await place(client);
  const config = {
    name,
    guestId: 'other3xLinux64Guest',
    numCPUs: 1,
    memoryMB: 64,
    files: { vmPathName: `[${datastore}]` },
  };
  return (await client.runTask('CreateVM_Task', folder, { pool, config })) as ManagedObjectReference;
}

/** Makes the server forget the session of `client`, as a restart or an idle timeout would. */
export async function dropSession(client: VimClient, other: VimClient): Promise<void> {
  const { sessionManager } = client.serviceContent;
  const [manager] = await client.retrieve([sessionManager!], 'SessionManager', ['currentSession']);
  await other.call('TerminateSession', sessionManager!, { sessionId: [manager!.props.currentSession!.key] });
}
