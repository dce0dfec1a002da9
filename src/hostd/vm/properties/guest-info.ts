/** VirtualMachine.guest. */
import { guestAddresses } from '../guest-addresses.js';
import { guestName } from './guest-names.js';
import { addressOf, isOn, type VmView } from './vm-view.js';

/** What is reported about VMware Tools: the tether does their work while the VM runs. */
export function toolsState(on: boolean): object {
  return {
    toolsStatus: on ? 'toolsOk' : 'toolsNotRunning',
    toolsVersionStatus: 'guestToolsUnmanaged',
    toolsVersionStatus2: 'guestToolsUnmanaged',
    toolsRunningStatus: on ? 'guestToolsRunning' : 'guestToolsNotRunning',
  };
}

/** GuestInfo. */
export function guestInfo(vm: VmView): object {
  const { config } = vm;
  const on = isOn(vm);
  const ipAddress = addressOf(vm);
  const told = guestAddresses(config.extraConfig);
  const net = config.hardware.nics.map(({ key, portGroup, mac, connected }, index) => {
    const card = told.get(mac.toLowerCase());
    const address = card?.ipAddress ?? (index === 0 ? ipAddress : undefined);
    return {
      network: portGroup,
      ...(address === undefined ? {} : { ipAddress: [address] }),
      macAddress: mac,
      connected,
      deviceConfigId: key,
      // `govc vm.ip -a` waits until each card has one.
      ...(card === undefined ? {} : { ipConfig: { ipAddress: [{ ...card, state: 'preferred' }] } }),
    };
  });
  return {
    ...toolsState(on),
    toolsVersion: '0',
    ...(on ? { guestId: config.guestId, guestFamily: 'linuxGuest', guestFullName: guestName(config.guestId) } : {}),
    ...(ipAddress === undefined ? {} : { ipAddress }),
    net: on ? net : [],
    guestState: on ? 'running' : 'notRunning',
    appHeartbeatStatus: 'appStatusGray',
    guestOperationsReady: false,
    interactiveGuestOperationsReady: false,
    guestStateChangeSupported: on,
  };
}
