/** Watching a simulator: properties and events, through lost sessions and changes by other clients. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PropertyWatcher, readEvents, VimClient } from '../../src/vim25/index.js';
import { createVm, dropSession, inventory } from '../support/inventory.js';
import { startVcsim, type Vcsim } from '../support/vcsim.js';

describe.each(['vpx', 'esx'] as const)('watching the %s model', (model) => {
  let vcsim: Vcsim;
  let client: VimClient;
  let other: VimClient;

  beforeAll(async () => {
    vcsim = await startVcsim(model);
    client = await VimClient.connect(vcsim);
    other = await VimClient.connect(vcsim);
  });
  afterAll(async () => {
    await client?.close();
    await other?.close();
    await vcsim?.stop();
  });

  it('tracks all VMs: new ones, changes, removed ones', async () => {
    const told: string[] = [];
    const paths = ['name', 'runtime.powerState'];
    const watcher = new PropertyWatcher(client, client.serviceContent.rootFolder, 'VirtualMachine', paths, {
      changed: (object, changed) => told.push(`${object.props.get('name')}: ${[...changed].sort().join(' ')}`),
      left: (ref) => told.push(`left ${ref.value}`),
    });
    try {
      await watcher.start();
      const vms = await inventory(client, 'VirtualMachine');
      expect([...watcher.objects.values()].map((object) => object.props.get('name')).sort()).toEqual(
        [...vms.keys()].sort(),
      );
      expect(told).toHaveLength(vms.size);
      told.length = 0;

      const vm = await createVm(other, 'newcomer');
      await expect.poll(() => told[0]).toBe('newcomer: name runtime.powerState');
      await other.runTask('PowerOnVM_Task', vm, {});
      await expect.poll(() => watcher.objects.get(vm.value)?.props.get('runtime.powerState')).toBe('poweredOn');
      await other.runTask('PowerOffVM_Task', vm, {});
      await other.runTask('Destroy_Task', vm, {});
      await expect.poll(() => told).toContain(`left ${vm.value}`);
      expect(watcher.objects.size).toBe(vms.size);
    } finally {
      await watcher.close();
    }
  });

  it('starts over when the session was lost, and reports only the differences', async () => {
    const own = await VimClient.connect(vcsim);
    const told: string[] = [];
    const doomed = await createVm(other, 'doomed');
    const watcher = new PropertyWatcher(own, own.serviceContent.rootFolder, 'VirtualMachine', ['name'], {
      changed: (object) => told.push(String(object.props.get('name'))),
      left: (ref) => told.push(`left ${ref.value}`),
    });
    try {
      await watcher.start();
      told.length = 0;
      await dropSession(own, other);
      await other.runTask('Destroy_Task', doomed, {});
      const vm = await createVm(other, 'meanwhile');
      // The watcher notices at the next answer or call; vcsim's open wait does not notice the lost session.
      await expect.poll(() => told).toEqual(expect.arrayContaining([`left ${doomed.value}`, 'meanwhile']));
      expect(new Set(told)).toEqual(new Set([`left ${doomed.value}`, 'meanwhile']));
      await other.runTask('Destroy_Task', vm, {});
      await expect.poll(() => told).toContain(`left ${vm.value}`);
    } finally {
      await watcher.close();
      await own.close();
    }
  });

  it('watches a list of objects', async () => {
    const ref = await createVm(other, 'listed');
    const watcher = new PropertyWatcher(client, [ref], 'VirtualMachine', ['runtime.powerState'], {
      changed: () => undefined,
      left: () => undefined,
    });
    try {
      await watcher.start();
      expect([...watcher.objects.keys()]).toEqual([ref.value]);
      await other.runTask('PowerOnVM_Task', ref, {});
      await expect.poll(() => watcher.objects.get(ref.value)?.props.get('runtime.powerState')).toBe('poweredOn');
    } finally {
      await watcher.close();
      await other.runTask('PowerOffVM_Task', ref, {});
      await other.runTask('Destroy_Task', ref, {});
    }
  });

  it('reads the events of others in order, each once, also after a lost session', async () => {
    const own = await VimClient.connect(vcsim);
    const abort = new AbortController();
    const read: { type: string; key: number; vm: string | undefined }[] = [];
    const events = await readEvents(own, { signal: abort.signal });
    const reading = (async () => {
      for await (const event of events) read.push({ type: event.$type ?? 'Event', key: event.key, vm: event.vm?.name });
    })();
    try {
      const vm = await createVm(other, 'eventful');
      await other.runTask('PowerOnVM_Task', vm, {});
      const ofVm = () => read.filter((event) => event.vm === 'eventful').map((event) => event.type);
      await expect.poll(() => ofVm()).toContain('VmPoweredOnEvent');
      expect(ofVm().indexOf('VmCreatedEvent')).toBeLessThan(ofVm().indexOf('VmPoweredOnEvent'));

      await dropSession(own, other);
      await other.runTask('PowerOffVM_Task', vm, {});
      await other.runTask('Destroy_Task', vm, {});
      await expect.poll(() => ofVm()).toContain('VmRemovedEvent');
      const keys = read.map((event) => event.key);
      expect(keys).toEqual([...new Set(keys)].sort((a, b) => a - b));
    } finally {
      abort.abort();
      await reading;
      await own.close();
    }
  });

  it('leaves nothing running when it stops', async () => {
    const own = await VimClient.connect(vcsim);
    const watcher = new PropertyWatcher(own, own.serviceContent.rootFolder, 'VirtualMachine', ['name'], {
      changed: () => undefined,
      left: () => undefined,
    });
    await watcher.start();
    await sleep(20);
    await watcher.close();
    await own.close();
  });
});
