/** Published ports: which ones are wanted, and which ones the gateway listens for on the machine. */
import { isIP, isIPv6 } from 'node:net';
import type { PublishPolicy } from '../../port-layer/config.js';
import { type CaissonError, errnoOf, forbidden, internal, invalid, messageOf } from '../../src/common/errors.js';
import { newId } from '../../src/common/ids.js';
import { logger } from '../../src/common/log.js';
import type { Protocol } from '../../src/porter/messages.js';
import type { Gateway } from './gateway.js';

const log = logger('gateway');

/** As in Docker: a port that is published on no particular address. */
const ALL_ADDRESSES = ['0.0.0.0', '::'];
/** The errors by which a machine without IPv6 can be recognised. */
const NO_SUCH_FAMILY = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL']);
/** How often to try: a port that the kernel picks for one address may be taken on another. */
const MOST_FREE_PORTS = 20;

/**
 * A port to publish. `hostIp` '': on all addresses, with the same port on each. `hostPort` 0: any free port; with `lastHostPort`, any free
 * port from `hostPort` up to that.
 */
export interface PortRequest {
  containerPort: number;
  protocol: Protocol;
  hostIp: string;
  hostPort: number;
  lastHostPort?: number;
}

/** A port that is being listened on, at one address. */
export interface PublishedPort extends PortRequest {
  id: number;
}

type Bindings = Record<string, { HostIp?: string; HostPort?: string }[] | null>;

/** Parses `80/tcp` and the like. @throws invalid */
export function parsePort(text: string): { port: number; protocol: Protocol } {
  const [number = '', kind = 'tcp'] = text.split('/');
  const port = Number(number);
  const protocol = kind.toLowerCase();
  if (!/^\d+$/.test(number) || port < 1 || port > 65535) throw invalid(`invalid port specification: "${number}"`);
  if (protocol === 'sctp') throw invalid('publishing sctp ports is not supported');
  if (protocol !== 'tcp' && protocol !== 'udp') throw invalid(`invalid proto: ${protocol}`);
  return { port, protocol };
}

/** Parses `8080`, `8000-8010`, or nothing. @throws invalid */
function hostPorts(text: string): { hostPort: number; lastHostPort?: number } {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text === '' ? '0' : text);
  const [hostPort, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
  if (match === null || last > 65535 || hostPort > last) throw invalid(`invalid port specification: "${text}"`);
  return last === hostPort ? { hostPort } : { hostPort, lastHostPort: last };
}

/**
 * What a container wants published. A port without bindings is not (API 1.52 and later: `older-versions.ts`). @throws invalid in Docker's
 * words
 */
export function wantedPorts(bindings: Bindings, exposed: string[], publishAll: boolean): PortRequest[] {
  const wanted: PortRequest[] = [];
  for (const [key, list] of Object.entries(bindings)) {
    const { port: containerPort, protocol } = parsePort(key);
    for (const binding of list ?? []) {
      const hostIp = binding.HostIp ?? '';
      if (hostIp !== '' && isIP(hostIp) === 0) throw invalid(`invalid IP address for a published port: "${hostIp}"`);
      wanted.push({ containerPort, protocol, hostIp, ...hostPorts(binding.HostPort ?? '') });
    }
  }
  if (publishAll) {
    for (const key of exposed) {
      const { port: containerPort, protocol } = parsePort(key);
      if (!wanted.some((one) => one.containerPort === containerPort && one.protocol === protocol))
        wanted.push({ containerPort, protocol, hostIp: '', hostPort: 0 });
    }
  }
  // As in Docker: a range takes what the ports that are asked for by number leave.
  return wanted.sort((one, other) => Number(isChosen(one)) - Number(isChosen(other)));
}

/** Whether the port of the machine is up to the engine. */
const isChosen = ({ hostPort, lastHostPort }: PortRequest): boolean => hostPort === 0 || lastHostPort !== undefined;

/** Where a container is reached; one of them may be ''. */
export interface ContainerAddresses {
  address: string;
  address6: string;
}

/** Publishes ports. The gateway serves them; this remembers which container each belongs to. */
export class PortMapper {
  private readonly published = new Map<string, PublishedPort[]>();
  private readonly targets = new Map<string, ContainerAddresses>();
  /** How often the gateway has been started again. */
  private starts = 0;

  /**
   * @param policy where ports may be published
   * @param nextId numbers that nobody else gives to the gateway
   */
  constructor(
    private readonly gateway: Gateway,
    private readonly policy: PublishPolicy = { lowestPort: 1 },
    private readonly nextId = counter(),
  ) {}

  /** Whether ports can lead to a network with these subnets. */
  reaches(subnets: readonly string[]): boolean {
    return this.gateway.reaches(subnets);
  }

  /** What a container has published. */
  portsOf(containerId: string): PublishedPort[] {
    return this.published.get(containerId) ?? [];
  }

  /**
   * Listens for a container's ports. Connections wait until {@link activate}.
   * @param failed what the message of a failure begins with
   * @throws internal in Docker's words when a port is taken; then none of them is listened on
   */
  async reserve(
    containerId: string,
    name: string,
    wanted: PortRequest[],
    failed = 'failed to set up container networking: ',
  ): Promise<PublishedPort[]> {
    const ports: PublishedPort[] = [];
    this.published.set(containerId, ports);
    const { starts } = this;
    try {
      for (const request of wanted) this.check(request);
      for (const request of wanted) {
        try {
          ports.push(...(await this.listenInRange(request)));
        } catch (error) {
          throw this.bindError(failed, name, request, error);
        }
      }
      // Those it listened on before may be lost.
      if (starts !== this.starts) await this.republishOf(containerId);
      return ports;
    } catch (error) {
      this.release(containerId);
      throw error;
    }
  }

  /** The container is now reached at these addresses, so connections can go there. */
  activate(containerId: string, addresses: ContainerAddresses): void {
    this.targets.set(containerId, addresses);
    for (const port of this.portsOf(containerId)) this.lead(port, addresses);
  }

  /** Stops listening for a container. */
  release(containerId: string): void {
    for (const { id } of this.portsOf(containerId)) this.gateway.close(id);
    this.published.delete(containerId);
    this.targets.delete(containerId);
  }

  /** The gateway was started again and listens for nothing: listens for all ports once more, with the same numbers. */
  async republish(): Promise<void> {
    this.starts++;
    await Promise.all([...this.published.keys()].map((containerId) => this.republishOf(containerId)));
  }

  private async republishOf(containerId: string): Promise<void> {
    const ports = this.portsOf(containerId);
    await Promise.all(
      ports.map(async (port) => {
        const { id, protocol, hostIp, hostPort } = port;
        this.gateway.close(id);
        try {
          await this.gateway.publish(id, protocol, hostIp, hostPort);
        } catch (error) {
          log.error({ container: containerId, err: messageOf(error) }, 'a port could not be published again');
          return;
        }
        // Meanwhile the container may have started, moved or ended.
        const addresses = this.targets.get(containerId);
        if (!this.portsOf(containerId).includes(port)) this.gateway.close(id);
        else if (addresses !== undefined) this.lead(port, addresses);
      }),
    );
  }

  /** As in Docker, a port on an IPv6 address leads to the container's IPv6 address if it has one. */
  private lead({ id, hostIp, containerPort }: PublishedPort, { address, address6 }: ContainerAddresses): void {
    const target = isIPv6(hostIp) ? address6 || address : address || address6;
    if (target !== '') this.gateway.target(id, target, containerPort);
  }

  /** @throws forbidden for a port or address that containers may not use */
  private check({ hostIp, hostPort, containerPort, protocol }: PortRequest): void {
    const { addresses, lowestPort } = this.policy;
    const what = `${hostIp}:${hostPort}:${containerPort}/${protocol}`;
    if (hostPort !== 0 && hostPort < lowestPort)
      throw forbidden(`${what} may not be published: only ports from ${lowestPort} on may be`);
    if (hostIp !== '' && addresses?.includes(hostIp) === false)
      throw forbidden(`${what} may not be published: only addresses ${addresses.join(', ')} may be used`);
  }

  /** Listens on the first free port of a range. */
  private async listenInRange({ lastHostPort, ...request }: PortRequest): Promise<PublishedPort[]> {
    const any = request.hostPort === 0;
    const tries = any ? MOST_FREE_PORTS : (lastHostPort ?? request.hostPort) - request.hostPort + 1;
    for (let tried = 1; ; tried++) {
      try {
        return await this.listenOnAll({ ...request, hostPort: any ? 0 : request.hostPort + tried - 1 });
      } catch (error) {
        if (errnoOf(error) !== 'EADDRINUSE' || tried >= tries) throw error;
      }
    }
  }

  /** Listens on the same port on each address, or on none. */
  private async listenOnAll(request: PortRequest): Promise<PublishedPort[]> {
    const everywhere = request.hostIp === '';
    const ports: PublishedPort[] = [];
    try {
      for (const hostIp of everywhere ? (this.policy.addresses ?? ALL_ADDRESSES) : [request.hostIp]) {
        const id = this.nextId();
        const wanted = { ...request, hostIp, hostPort: ports[0]?.hostPort ?? request.hostPort };
        try {
          const hostPort = await this.gateway.publish(id, wanted.protocol, wanted.hostIp, wanted.hostPort);
          ports.push({ ...wanted, hostPort, id });
        } catch (error) {
          if (!everywhere || !isIPv6(hostIp) || !NO_SUCH_FAMILY.has(errnoOf(error) ?? '')) throw error;
        }
      }
      return ports;
    } catch (error) {
      for (const { id } of ports) this.gateway.close(id);
      throw error;
    }
  }

  /** In Docker's words: a port of another container is "allocated", one of another program is "in use". */
  private bindError(
    failed: string,
    name: string,
    { containerPort, protocol }: PortRequest,
    error: unknown,
  ): CaissonError {
    const { address = '', port = 0 } = error as { address?: string; port?: number };
    const ours = [...this.published.values()]
      .flat()
      .some((one) => one.hostPort === port && one.protocol === protocol && overlap(one.hostIp, address));
    const why =
      errnoOf(error) !== 'EADDRINUSE'
        ? messageOf(error)
        : ours
          ? `Bind for ${address}:${port} failed: port is already allocated`
          : `failed to bind host port for ${address}:${port}:${containerPort}/${protocol}: address already in use`;
    log.info({ container: name, err: messageOf(error) }, 'a port could not be published');
    return internal(
      `${failed}driver failed programming external connectivity on endpoint ${name} (${newId()}): ${why}`,
      error,
    );
  }
}

/** 1, 2, 3, … */
export function counter(): () => number {
  let last = 0;
  return () => ++last;
}

/** Whether two addresses overlap, so that only one of them can be listened on with the same port. */
function overlap(one: string, other: string): boolean {
  return (
    isIPv6(one) === isIPv6(other) && (one === other || ALL_ADDRESSES.includes(one) || ALL_ADDRESSES.includes(other))
  );
}
