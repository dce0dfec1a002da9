/** One observer in a container's VM: asked, it answers with what the kernel says (`tether/protocol/observation.ts`). */
import { timeout } from '../../src/common/errors.js';
import { within } from '../../src/common/within.js';
import { type Facts, ObservationParser } from '../../tether/protocol/observation.js';
import type { ContainerChannel } from '../interaction/container-channel.js';
import { GuestHelper } from '../interaction/guest-helper.js';

const ANSWER_MS = 10_000;
const NO_ANSWER = 'the container VM does not answer';

/** Its owner must {@link close} it. One question at a time. */
export class GuestObserver {
  private constructor(private readonly helper: GuestHelper<Facts>) {}

  /** Starts one. @throws conflict, unavailable, cancelled, timeout */
  static async open(channel: ContainerChannel, signal?: AbortSignal): Promise<GuestObserver> {
    const options = { ms: ANSWER_MS, late: NO_ANSWER, signal };
    return new GuestObserver(await GuestHelper.open(channel, channel.observe(), new ObservationParser(), options));
  }

  /** @param what of `Observation` @throws conflict when the container ends, timeout, cancelled */
  async ask(what: string): Promise<Facts> {
    if (this.helper.closed) throw this.helper.ended();
    this.helper.input.write(what);
    const { value, done } = await within(this.helper.records.next(), ANSWER_MS, () => {
      throw timeout(NO_ANSWER);
    });
    if (done === true) throw this.helper.ended();
    return value;
  }

  close(): void {
    void this.helper.close();
  }
}
