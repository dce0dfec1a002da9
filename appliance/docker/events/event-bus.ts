/** Docker's events: publishes them, and keeps the latest. */
import { EventEmitter } from 'node:events';

const KEPT = 256;

/** An event as the API gives it. */
export interface DockerEvent {
  /** `status`, `id` and `from`: the form of versions before 1.22, sent up to 1.51. */
  status?: string;
  id?: string;
  from?: string;
  Type: string;
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
  scope: 'local';
  time: number;
  timeNano: number;
}

/** Publishes events. */
export class EventBus {
  private readonly emitter = new EventEmitter<{ event: [DockerEvent] }>().setMaxListeners(0);
  private last = 0n;
  private readonly history: { event: DockerEvent; ns: bigint }[] = [];

  publish(type: string, action: string, id: string, attributes: Record<string, string>, time = new Date()): void {
    // Events of one millisecond get times of their own, so that they keep their order. Today's times as JSON numbers are exact to 256 ns.
    let ns = BigInt(time.getTime()) * 1_000_000n;
    if (ns <= this.last && this.last - ns < 1_000_000n) ns = this.last + 1000n;
    this.last = ns;
    const event: DockerEvent = {
      // The form of API versions before 1.22, for containers and images.
      ...(type === 'container' || type === 'image' ? { status: action, ...(id === '' ? {} : { id }) } : {}),
      ...(type === 'container' && attributes.image !== undefined ? { from: attributes.image } : {}),
      Type: type,
      Action: action,
      Actor: { ID: id, Attributes: attributes },
      scope: 'local',
      time: Math.floor(time.getTime() / 1000),
      timeNano: Number(ns),
    };
    this.history.push({ event, ns });
    if (this.history.length > KEPT) this.history.shift();
    this.emitter.emit('event', event);
  }

  /** Kept events of a period, in nanoseconds; null: not limited. */
  past(since: bigint | null, until: bigint | null): DockerEvent[] {
    return this.history
      .filter(({ ns }) => (since === null || ns >= since) && (until === null || ns <= until))
      .map(({ event }) => event);
  }

  listen(listener: (event: DockerEvent) => void): () => void {
    this.emitter.on('event', listener);
    return () => this.emitter.off('event', listener);
  }
}
