/** Looks into running containers, through observers in their guests. */
import { Observation } from '../../tether/protocol/observation.js';
import { PortLayerError } from '../errors.js';
import type { Container } from '../exec/container.js';
import type { ContainerCache } from '../exec/container-cache.js';
import type { LastSeen } from '../exec/container-life.js';
import { GuestObserver } from './guest-observer.js';
import { parseProcesses } from './processes.js';
import type { Meter, ObserveService, ProcessList, ResourceUsage } from './types.js';
import { parseUsage } from './usage.js';

const LOOK_MS = 10_000;

/** The observe component of the port layer. */
export class Observe implements ObserveService {
  /** @param visit keeps a paused container's guest awake: `Pauser.visit` */
  constructor(
    private readonly cache: ContainerCache,
    private readonly visit: (container: Container) => Promise<() => void>,
  ) {}

  async processes(id: string, signal?: AbortSignal): Promise<ProcessList> {
    const container = this.running(id);
    // A suspended VM cannot be asked, and its processes stay as they are.
    if (container.paused) return (await this.seen(container)).processes;
    const observer = await this.open(container, signal);
    try {
      return parseProcesses(await observer.ask(Observation.processes), new Date());
    } finally {
      observer.close();
    }
  }

  async meter(id: string, signal?: AbortSignal): Promise<Meter> {
    const container = this.running(id);
    let observer: GuestObserver | null = null;
    const read = async (): Promise<ResourceUsage> => {
      if (container.paused) return { ...(await this.seen(container)).usage, at: new Date() };
      this.running(id);
      observer ??= await this.open(container, signal);
      return parseUsage(await observer.ask(Observation.usage), new Date());
    };
    return { read, close: () => observer?.close() };
  }

  /** What a paused container showed when it was paused, or shows now. @throws conflict if its processes would have to run for that */
  private async seen(container: Container): Promise<LastSeen> {
    if (container.lastSeen !== null) return container.lastSeen;
    const leave = await this.visit(container);
    try {
      const seen = await lookOnce(container, AbortSignal.timeout(LOOK_MS));
      if (seen === null) throw new PortLayerError('container.notRunning', { container: container.id });
      container.dispatch({ type: 'seen', seen });
      return seen;
    } finally {
      leave();
    }
  }

  private running(id: string): Container {
    const container = this.cache.resolve(id);
    if (!container.running || container.ending)
      throw new PortLayerError('container.notRunning', { container: container.id });
    return container;
  }

  private async open(container: Container, signal?: AbortSignal): Promise<GuestObserver> {
    const { channel } = container;
    if (channel === null) throw new PortLayerError('container.notRunning', { container: container.id });
    return GuestObserver.open(channel, signal);
  }
}

/** Looks at a container whose VM is about to be suspended, because afterwards it cannot be asked. */
export async function lookOnce(container: Container, signal: AbortSignal): Promise<LastSeen | null> {
  if (container.channel === null) return null;
  const observer = await GuestObserver.open(container.channel, signal);
  try {
    const processes = parseProcesses(await observer.ask(Observation.processes), new Date());
    return { processes, usage: parseUsage(await observer.ask(Observation.usage), new Date()) };
  } finally {
    observer.close();
  }
}
