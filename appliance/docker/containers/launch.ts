/** Starts a container with its links, published ports and log driver. Users and restart policies both start containers this way. */
import { isIP } from 'node:net';
import type { ExecService, NetworkService } from '../../../port-layer/index.js';
import { unavailable } from '../../../src/common/errors.js';
import type { LogForwarding } from '../logging/log-forwarding.js';
import type { ContainerPorts } from '../networks/container-ports.js';
import { hasNames, type Names } from '../networks/names-feed.js';
import { annotationsOf, intactRecord } from './container-record.js';
import { resolveLinks } from './links.js';

export class Launcher {
  constructor(
    private readonly exec: Pick<ExecService, 'list' | 'resolve' | 'start' | 'annotate'>,
    private readonly ports: Pick<ContainerPorts, 'reserve'>,
    private readonly forwarding: Pick<LogForwarding, 'prepare'>,
    private readonly networks: Pick<NetworkService, 'disconnect'>,
    private readonly names: Pick<Names, 'follow'>,
  ) {}

  /** @param annotations to be kept with the container; called once it is clear that it may be started */
  async launch(id: string, annotations: () => Record<string, string>): Promise<void> {
    const container = this.exec.resolve(id);
    const { leftNetwork: left, hostConfig } = intactRecord(container);
    if (left !== null) {
      await this.networks.disconnect(container.spec.id, left);
      await this.exec.annotate(container.spec.id, annotationsOf({ leftNetwork: null }));
    }
    await this.exec.start(container.spec.id, async () => {
      const links = resolveLinks(container, this.exec.list());
      for (const server of hostConfig.Dns ?? []) checkNameserver(server);
      const ports = await this.ports.reserve(container);
      await this.forwarding.prepare(container);
      return { annotations: { ...ports, ...annotations() }, links };
    });
    // Whoever is told that it has started may look it up at once.
    if (hasNames(container)) await this.names.follow();
  }
}

/** @throws unavailable in Docker's words: it accepts any text at create, and finds out here */
function checkNameserver(server: string): void {
  if (isIP(server) !== 0) return;
  throw unavailable(`bad nameserver address ${server}: ParseAddr(${JSON.stringify(server)}): ${whyNoIp(server)}`);
}

/** What Go (net/netip) says of a text that is not an address. */
function whyNoIp(text: string): string {
  return /^\d+(\.\d+){1,2}$/.test(text) ? 'IPv4 address too short' : 'unable to parse IP';
}
