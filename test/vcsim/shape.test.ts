/** hostd's objects have the same shape as those of another vSphere implementation; govmomi reads both. */
import { expect, it } from 'vitest';
import { VimClient } from '../../src/vim25/index.js';
import { startFakeHostd } from '../support/fake-hostd.js';
import { createFullVm } from '../support/full-vm.js';
import { createVm } from '../support/inventory.js';
import { flaws, shapes } from '../support/shapes.js';
import { startVcsim } from '../support/vcsim.js';

/** Managers and parts of a machine that hostd lacks: of later versions, or without relevance here. */
const NOT_HERE: [type: string, paths: RegExp, reason: string][] = [
  [
    'ServiceInstance',
    /^content\.\w+Manager$|^content\.(setting|userDirectory)$/,
    'managers that this host does not have',
  ],
  ['ServiceInstance', /^capability\./, 'no clusters, so no EVC modes nor compute policies'],
  ['HostSystem', /^configManager\./, 'managers that this host does not have'],
  ['HostSystem', /^config\.(?!network$|host$|product$)\w+$/, 'parts of an ESXi that this host does not have'],
  [
    'HostSystem',
    /^config\.network\.(routeTableInfo|dnsConfig\.virtualNicDevice|ipRouteConfig\.defaultGateway)$/,
    'the machine has no VMkernel card',
  ],
  [
    'HostSystem',
    /^hardware\.(biosInfo\..*Release|cpuPowerManagementInfo|reliableMemoryInfo)$/,
    'the kernel does not tell',
  ],
  [
    'HostSystem',
    /runtime\.(healthSystemRuntime|networkRuntimeInfo|tpmPcrValues|vsanRuntimeInfo)$/,
    'nothing here measures it',
  ],
  ['HostSystem', /^summary\.(quickStats\.(available|distributed)|trustAuthority)/, 'no cluster, no persistent memory'],
  ['Network', /^summary\.ipPoolId$/, 'pools of addresses are a vCenter’s'],
  ['EventManager', /^description\.enumeratedTypes$/, 'no event here has an argument of an enumeration'],
  ['Datastore', /^capability\.topLevel/, 'of vSAN'],
  ['VirtualMachine', /^summary\.quickStats\./, 'figures that hostd does not count yet'],
  ['VirtualMachine', /runtime\.(feature|offlineFeature|vFlash)/, 'no EVC, no flash cache'],
  [
    'VirtualMachine',
    /^config\.(hotPlugMemory|npiv|vFlash|vmxConfigChecksum)/,
    'no hot plugging, no fibre channel, no flash cache',
  ],
  ['VirtualMachine', /^guest\.(disk|generationInfo|ipStack)$/, 'the guest does not tell'],
  ['ResourcePool', /runtime\.sharesScalable$/, 'of API 7.0: clients of 6.7 cannot read it'],
  ['VirtualMachine', /^summary\.config\.hwVersion$/, 'of API 7.0: clients of 6.7 cannot read it'],
  ['Task', /^info\.(locked|progress)$/, 'optional; progress is told while there is some'],
];

it('gives every object the properties and types that vcsim gives it', async () => {
  const [vcsim, hostd] = await Promise.all([startVcsim('esx'), startFakeHostd()]);
  try {
    const client = await VimClient.connect(hostd);
    const on = await createFullVm(client, hostd, 'full');
    await client.runTask('PowerOnVM_Task', on, {});
    hostd.runtime.guests.get('full')!.hooks.infoSet('guestinfo.ip', '172.16.0.2');
    await createVm(client, 'off');
    await client.close();

    const [theirs, ours] = [await shapes(vcsim), await shapes(hostd)];
    expect(flaws(ours)).toEqual([]);
    expect(new Set(ours.map(({ type }) => type))).toContain('VirtualMachine');

    const wanted = new Map<string, Map<string, Set<string>>>();
    for (const { type, types } of theirs) {
      const known = wanted.get(type) ?? new Map<string, Set<string>>();
      wanted.set(type, known);
      for (const [path, go] of Object.entries(types)) known.set(path, (known.get(path) ?? new Set()).add(go));
    }
    const differences: string[] = [];
    for (const [type, paths] of wanted) {
      const mine = ours.filter((shape) => shape.type === type);
      if (mine.length === 0) continue;
      for (const [path, types] of paths) {
        const found = new Set(mine.flatMap((shape) => shape.types[path] ?? []));
        const parent = path.slice(0, Math.max(0, path.lastIndexOf('.')));
        const there = parent === '' || mine.some((shape) => shape.types[parent] !== undefined);
        if (found.size === 0 && there && !NOT_HERE.some(([one, allowed]) => one === type && allowed.test(path)))
          differences.push(`${type} ${path}: missing, ${[...types].join(' or ')} in vcsim`);
        for (const one of found)
          if (!types.has(one)) differences.push(`${type} ${path}: ${one}, ${[...types].join(' or ')} in vcsim`);
      }
    }
    expect(differences.sort()).toEqual([]);
  } finally {
    await Promise.all([vcsim.stop(), hostd.stop()]);
  }
}, 900_000);
