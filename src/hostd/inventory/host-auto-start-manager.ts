/** HostAutoStartManager: no VM starts by itself here. libvirt asks for this about any VM, and crashes where there is none. */
import { SimpleObject } from '../objects/simple-object.js';
import { AUTO_START_MANAGER } from '../references.js';

export class HostAutoStartManager extends SimpleObject {
  constructor() {
    const defaults = {
      enabled: false,
      startDelay: 120,
      stopDelay: 120,
      waitForHeartbeat: false,
      stopAction: 'powerOff',
    };
    super('HostAutoStartManager', AUTO_START_MANAGER.value, { config: { defaults, powerInfo: [] } }, []);
  }
}
