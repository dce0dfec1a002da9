import { expect, it } from 'vitest';
import { STATUS_KEY } from '../../../port-layer/exec/run-status.js';
import { PROGRAM_KEY } from '../../../port-layer/exec/vm-spec.js';
import { MAX_REPLY, SEED_KEY } from '../../../src/hostd/qemu/guest-rpc.js';
import { isAddressKey } from '../../../src/hostd/vm/guest-addresses.js';
import { GuestInfo, MAX_RPC_FRAME } from '../../../tether/protocol/guest-rpc.js';

it('the guest, the host and the port layer use the same keys and sizes', () => {
  expect([PROGRAM_KEY, STATUS_KEY]).toEqual([GuestInfo.program, GuestInfo.status]);
  expect([SEED_KEY, MAX_REPLY]).toEqual([GuestInfo.seed, MAX_RPC_FRAME]);
  expect([GuestInfo.ip, GuestInfo.addresses, GuestInfo.timeline].map(isAddressKey)).toEqual([true, true, false]);
});
