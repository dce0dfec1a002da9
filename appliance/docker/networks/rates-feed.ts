/** Keeps the gateway in step with the containers' own rates, and lets it forget addresses that are no container's any more. */
import type { ExecService } from '../../../port-layer/index.js';
import type { Gateway } from '../../gateway/index.js';
import { type AddressRate, addressRates } from './egress-rate.js';

export class RatesFeed {
  /** What the gateway knows: it keeps it as long as this process lives. */
  private told: ReadonlyMap<string, AddressRate> = new Map();

  constructor(
    private readonly gateway: Pick<Gateway, 'rate' | 'forget'>,
    private readonly exec: Pick<ExecService, 'list'>,
  ) {}

  /** Something has changed. */
  follow(): void {
    const now = addressRates(this.exec.list());
    const kept = new Set(
      [...this.told].flatMap(([address, one]) => (now.get(address)?.container === one.container ? address : [])),
    );
    for (const address of this.told.keys()) if (!kept.has(address)) this.gateway.forget(address);
    for (const [address, { rate }] of now)
      if ((kept.has(address) ? this.told.get(address)!.rate : 0) !== rate) this.gateway.rate(address, rate);
    this.told = now;
  }
}
