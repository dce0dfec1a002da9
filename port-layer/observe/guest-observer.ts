/** An observer in a container's VM: each question is answered with what the kernel says (`tether/protocol/observation.ts`). */
import { type Facts, ObservationParser } from '../../tether/protocol/observation.js';
import type { ContainerChannel } from '../interaction/container-channel.js';
import { GuestHelper } from '../interaction/guest-helper.js';
import { OBSERVATION } from '../interaction/patience.js';

/** Its owner must {@link close} it. One question at a time. */
export class GuestObserver {
  private constructor(
    private readonly helper: GuestHelper<Facts>,
    private readonly parser: ObservationParser,
  ) {}

  /** Starts one. @throws conflict, unavailable, cancelled, timeout */
  static async open(channel: ContainerChannel, signal?: AbortSignal): Promise<GuestObserver> {
    const asking = { patience: OBSERVATION, what: 'looking at its processes', signal };
    const parser = new ObservationParser();
    return new GuestObserver(await GuestHelper.open(channel, channel.observe(), parser, asking), parser);
  }

  /** @param what one of `Observation` @throws conflict when the container ends, timeout, cancelled */
  async ask(what: string): Promise<Facts> {
    if (this.helper.closed) throw this.helper.ended();
    this.parser.asked(what);
    await this.helper.send(what);
    const answer = await this.helper.next();
    if (answer.done === true) throw this.helper.ended();
    return answer.value;
  }

  close(): void {
    void this.helper.close();
  }
}
