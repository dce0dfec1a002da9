/** What the relay has carried for each address, added up: a relay that was started again begins at nothing. */
import type { Counter } from './messages.js';

/** As many addresses as the relay itself remembers. */
const MOST = 65_536;

export class RelayTotals {
  private readonly byAddress = new Map<string, Counter>();

  /** @param more what was carried since the relay was asked last */
  add(more: readonly Counter[]): void {
    for (const { address, bytesIn, bytesOut, flows } of more) {
      const before = this.byAddress.get(address) ?? { address, bytesIn: 0, bytesOut: 0, flows: 0 };
      // The one that was longest without traffic is the first of the map.
      this.byAddress.delete(address);
      this.byAddress.set(address, {
        address,
        bytesIn: before.bytesIn + bytesIn,
        bytesOut: before.bytesOut + bytesOut,
        flows: before.flows + flows,
      });
      if (this.byAddress.size > MOST) this.byAddress.delete(this.byAddress.keys().next().value!);
    }
  }

  list(): Counter[] {
    return [...this.byAddress.values()];
  }

  /** The address belongs to nobody, or to somebody else. */
  forget(address: string): void {
    this.byAddress.delete(address);
  }
}
