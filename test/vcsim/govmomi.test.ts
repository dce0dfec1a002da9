/** The govmomi program used to check hostd also works against a third-party server. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VimClient } from '../../src/vim25/index.js';
import { govmomi } from '../support/govmomi.js';
import { createVm } from '../support/inventory.js';
import { startVcsim, type Vcsim } from '../support/vcsim.js';

describe.each(['vpx', 'esx'] as const)('govmomi on the %s model', (model) => {
  let vcsim: Vcsim;
  let client: VimClient;

  beforeAll(async () => {
    vcsim = await startVcsim(model);
    client = await VimClient.connect(vcsim);
  });
  afterAll(async () => {
    await client?.close();
    await vcsim?.stop();
  });

  it('lists VMs with their guestinfo, watches one and powers it off', async () => {
    const vm = await createVm(client, 'seen by both');
    const extraConfig = [
      { key: 'guestinfo.a', value: ' <x> ' },
      { key: 'other', value: 'y' },
    ];
    await client.runTask('ReconfigVM_Task', vm, { spec: { extraConfig } });
    await client.runTask('PowerOnVM_Task', vm, {});
    const listed = await govmomi(vcsim);
    expect(listed.find((one) => one.name === 'seen by both')).toMatchObject({
      reference: vm.value,
      powerState: 'poweredOn',
      guestinfo: { 'guestinfo.a': ' <x> ' },
    });
    const watching = govmomi(vcsim, { watch: 'seen by both' });
    const off = await govmomi(vcsim, { powerOff: 'seen by both' });
    expect(off.find((one) => one.name === 'seen by both')?.powerState).toBe('poweredOff');
    expect((await watching).find((one) => one.name === 'seen by both')?.powerState).toBe('poweredOff');
  });

  it('fails with the server’s message', async () => {
    await expect(govmomi({ ...vcsim, password: 'no' })).rejects.toThrow(/Login|user name or password/i);
    await expect(govmomi(vcsim, { powerOff: 'none' })).rejects.toThrow(/none/);
  });
});
