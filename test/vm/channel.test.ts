/** A VM's channel to the endpoint, as endpoints come and go. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ContainerChannel } from '../../port-layer/interaction/container-channel.js';
import type { RunningVm } from '../../src/hostd/runtime.js';
import { Freeze } from '../../tether/protocol/frames.js';
import { until, VmLab } from '../support/vm-lab.js';

const PRINTS = 'while :; do echo on and on; sleep 0.01; done';

let lab: VmLab;
let vm: RunningVm;
let path: string;
let endpoint: ContainerChannel;

beforeAll(async () => {
  lab = await VmLab.open();
  const guest = await lab.define({ script: PRINTS, cpus: 2 });
  const { backing } = guest.definition.serials[0]!;
  if (backing.kind !== 'unixClient') throw new Error('the lab gives VMs a channel');
  path = backing.path;
  vm = await lab.powerOn(guest);
  await newEndpoint();
  await until(() => guest.status.startsWith('started'), 'it has started');
});
afterAll(async () => {
  await endpoint?.close(true);
  await lab?.close();
});

async function newEndpoint(): Promise<void> {
  endpoint = new ContainerChannel(path);
  await endpoint.listen();
}

/** Resolves when output has arrived: now the guest has a reader, which may leave. */
async function expectOutput(): Promise<void> {
  const output = endpoint.attach(0);
  let printed = '';
  for await (const { data } of output) {
    printed += data.toString();
    if (printed.length > 100) break;
  }
  expect(printed).toContain('on and on\n');
}

// When a new endpoint appears, in ms after the VM resumes (negative: before). A VM tries to connect every second.
for (const absent of [-1500, -1, 0, 20, 200, 600]) {
  it(`reconnects to an endpoint that appears ${absent} ms after a suspended VM resumes`, async () => {
    await expectOutput();
    const reader = endpoint.attach(0);
    reader.resume();
    await vm.suspend();
    await endpoint.close(true);
    if (absent < 0) {
      await newEndpoint();
      await sleep(-absent);
    }
    await vm.resume();
    if (absent >= 0) {
      await sleep(absent);
      await newEndpoint();
    }
    expect(await endpoint.freeze(Freeze.ask)).toBe(Freeze.thawed);
    await expectOutput();
  });
}
