/** The properties of a VirtualMachine by name. */
import { datastoreRef, ENVIRONMENT_BROWSER } from '../../references.js';
import { allocations } from './allocations.js';
import { configInfo } from './config-info.js';
import { guestInfo } from './guest-info.js';
import { runtimeInfo } from './runtime-info.js';
import { VM_CAPABILITY } from './vm-capability.js';
import { datastoresOf, fileLayout, fileLayoutEx, storageInfo } from './vm-files.js';
import { vmSummary } from './vm-summary.js';
import { isOn, type VmView } from './vm-view.js';

const PROPERTIES: Record<string, (vm: VmView) => unknown> = {
  name: ({ config }) => config.name,
  parent: ({ folder }) => folder,
  resourcePool: ({ pool }) => pool,
  config: configInfo,
  runtime: runtimeInfo,
  guest: guestInfo,
  summary: vmSummary,
  resourceConfig: ({ ref, config }) => ({ entity: ref, ...allocations(config) }),
  storage: storageInfo,
  layout: fileLayout,
  layoutEx: fileLayoutEx,
  datastore: (vm) => datastoresOf(vm, vm.host.files).map(datastoreRef),
  network: ({ host, config }) => {
    const portGroups = new Set(config.hardware.nics.map((nic) => nic.portGroup));
    return [...portGroups].flatMap((name) => host.portGroups.networkOf(name) ?? []);
  },
  capability: () => VM_CAPABILITY,
  environmentBrowser: () => ENVIRONMENT_BROWSER,
  rootSnapshot: () => [],
  guestHeartbeatStatus: (vm) => (isOn(vm) ? 'green' : 'gray'),
};

/** The value of a first-level property; undefined: unset or unknown. */
export function vmProperty(name: string, vm: VmView): unknown {
  return Object.hasOwn(PROPERTIES, name) ? PROPERTIES[name]!(vm) : undefined;
}
