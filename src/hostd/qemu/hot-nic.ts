/** A network card that is plugged into a running VM: a tap of the switch, QEMU's network backend on it, and the card. */
import { messageOf } from '../../common/errors.js';
import type { RuntimeNic } from '../runtime.js';
import type { HotDevice, HotVm } from './hot-device.js';
import { deviceWith } from './qom.js';

/** Id of a card that was plugged into a running VM. Cards that were there from the start have none. */
export function nicDevice(index: number): string {
  return `net${index}-device`;
}

export class HotNic implements HotDevice {
  /** Id of the backend, as on QEMU's command line. */
  private readonly backend: string;

  constructor(
    private readonly nic: RuntimeNic,
    private readonly vm: HotVm,
  ) {
    this.backend = `net${nic.index}`;
  }

  async open(): Promise<Record<string, unknown> | null> {
    const { moid, monitor, host } = this.vm;
    // This comes first: the switch must have its rules for the card before QEMU has the tap.
    const tap = await host.virtualSwitch.plugCard(moid, this.nic);
    if (tap === null) return null;
    try {
      await host.sender.tap(monitor, this.backend, host.virtualSwitch.path, tap);
    } catch (error) {
      await this.close();
      throw error;
    }
    const { mac, index } = this.nic;
    return { driver: 'virtio-net-pci', id: nicDevice(index), netdev: this.backend, mac, romfile: '' };
  }

  find(): Promise<string | null> {
    return deviceWith(this.vm.qmp, 'netdev', this.backend);
  }

  async close(): Promise<void> {
    const { moid, qmp, host } = this.vm;
    await qmp.command('netdev_del', { id: this.backend }).catch((error: unknown) => {
      if (!/not found/.test(messageOf(error))) throw error;
    });
    await host.virtualSwitch.unplugCard(moid, this.nic.index);
  }
}
