/** Networks of an inventory that machines cannot be attached to. What can is tested against vcsim, which has none of these. */
import { expect, it } from 'vitest';
import { findNetwork } from '../../../src/cli/port-groups.js';
import type { VimClient } from '../../../src/vim25/index.js';

/** A vCenter with one network. @param props of its object */
function vcenter(type: string, props: object): VimClient {
  const ref = { type, value: 'n-1' };
  const client = {
    serviceContent: { viewManager: {}, rootFolder: {} },
    call: async () => ref,
    retrieve: async (_: unknown, kind: string) =>
      kind === 'ContainerView'
        ? [{ ref, props: { view: [ref] } }]
        : [{ ref, props: { name: 'LAN', key: 'n-1', ...props } }],
  };
  return client as unknown as VimClient;
}

const dvs = { type: 'VmwareDistributedVirtualSwitch', value: 'dvs-1' };

it.each([
  ['an NSX network', 'OpaqueNetwork', {}, 'is an opaque network (NSX)'],
  ['uplinks', 'DistributedVirtualPortgroup', { config: { uplink: true } }, "is the port group of a switch's uplinks"],
  [
    'uplinks of an older vCenter',
    'DistributedVirtualPortgroup',
    { config: {}, tag: [{ key: 'SYSTEM/DVS.UPLINKPG' }] },
    "is the port group of a switch's uplinks",
  ],
  [
    'one whose switch this user does not see',
    'DistributedVirtualPortgroup',
    { config: { distributedVirtualSwitch: dvs } },
    'its distributed switch cannot be seen by this user',
  ],
])('%s is refused', async (_, type, props, why) => {
  await expect(findNetwork(vcenter(type, props), 'LAN', '--bridge-network')).rejects.toThrow(
    `--bridge-network 'LAN'${why.startsWith('is') ? ' ' : ': '}${why}`,
  );
});

it('one with a switch is known by its key', async () => {
  const client = vcenter('DistributedVirtualPortgroup', { config: { distributedVirtualSwitch: dvs }, uuid: 'u' });
  expect(await findNetwork(client, 'LAN', '--bridge-network')).toMatchObject({
    portGroup: 'LAN',
    distributed: { portgroupKey: 'n-1', switchUuid: 'u' },
  });
});
