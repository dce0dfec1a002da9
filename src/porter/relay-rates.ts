/** How fast the relay carries for each network's containers and for single ones. A relay that was started again is told all of it. */
import type { RelayProcess } from './relay-process.js';

/** As many as the relay itself remembers. */
const MOST = 65_536;

export class RelayRates {
  /** Bytes a second, by range. */
  private readonly rates = new Map<string, number>();

  constructor(private readonly relay: Pick<RelayProcess, 'rate'>) {}

  /** @param range CIDR @param rate bytes a second in each direction; 0: none of its own */
  set(range: string, rate: number): void {
    if ((this.rates.get(range) ?? 0) === rate) return;
    if (rate === 0) this.rates.delete(range);
    else if (this.rates.size < MOST) this.rates.set(range, rate);
    this.relay.rate(range, rate);
  }

  /** Sets those of one network. @param ranges all that it has @param before all that it had */
  setNetwork(ranges: readonly string[], rate: number, before: readonly string[]): void {
    for (const one of before) if (!ranges.includes(one)) this.set(one, 0);
    for (const one of ranges) this.set(one, rate);
  }

  tellAgain(): void {
    for (const [range, rate] of this.rates) this.relay.rate(range, rate);
  }
}
