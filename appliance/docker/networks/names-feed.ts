/** Keeps the server of names in step with containers and networks. */

import type { ContainerInfo, ExecService } from '../../../port-layer/index.js';
import { messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import type { AddressPort, Gateway, NamesContainer } from '../../gateway/index.js';
import {
  DEFAULT_NETWORK,
  type NamedNetwork,
  type NamesTable,
  namesChange,
  namesContainer,
  namesNetwork,
} from './names-table.js';
import { ServerForwards, wayTo } from './own-servers.js';

const log = logger('names');

/** What the feed depends on. */
export interface NamesFeedParts {
  gateway: Pick<Gateway, 'names' | 'forward' | 'close'>;
  exec: Pick<ExecService, 'list'>;
  networks(): readonly NamedNetwork[];
  /** The machine's servers as the server of names reaches them. */
  servers(): AddressPort[];
  /** Numbers that nobody else gives to the gateway. */
  nextId(): number;
}

export class NamesFeed {
  /** What the server knows; null: nothing. */
  private told: NamesTable | null = null;
  private steps: Promise<void> = Promise.resolve();
  /** A step that has not begun: it will see everything that has happened until then. */
  private next: Promise<void> | null = null;
  private readonly forwards: ServerForwards;
  private reported: string[] = [];
  private allowed: ReadonlyMap<string, string[] | null> | null = null;

  constructor(private readonly parts: NamesFeedParts) {
    this.forwards = new ServerForwards(parts.gateway, parts.nextId);
  }

  /** Something has changed. Resolves when containers are answered accordingly, or will be once the server of names is there. */
  follow(): Promise<void> {
    this.next ??= this.steps = this.steps.then(() => {
      this.next = null;
      return this.tell();
    });
    return this.next;
  }

  /** The server was started, and knows nothing. */
  again(): Promise<void> {
    this.told = null;
    return this.follow();
  }

  /** The relay was started again: what it forwarded is gone. */
  forwardAgain(): Promise<void> {
    this.forwards.forget();
    return this.follow();
  }

  /** The names whose addresses are told to `Gateway.onNamesAnswer` before they are told to a container: see `NamesChange.reported`. */
  report(patterns: readonly string[]): Promise<void> {
    this.reported = [...patterns];
    return this.follow();
  }

  /** Which outside names each container may look up, by its id; null: everybody everything. Resolves when it is so. */
  restrict(allowed: ReadonlyMap<string, string[] | null> | null): Promise<void> {
    this.allowed = allowed;
    return this.follow();
  }

  private lookups(id: string): string[] | null {
    if (this.allowed === null) return null;
    const own = this.allowed.get(id);
    return own === undefined ? [] : own;
  }

  private async tell(): Promise<void> {
    const { told } = this;
    try {
      const table = await this.table();
      const change = namesChange(told, table);
      if (change === null) return;
      // Should the server end meanwhile, `again` says so, and then everything is told.
      this.told = table;
      await this.parts.gateway.names(change);
    } catch (error) {
      this.told = null;
      // While it is being started this is how it should be.
      log.info(
        { err: messageOf(error) },
        'the server of names was not told what there is; it is told once it is ready',
      );
    }
  }

  private async table(): Promise<NamesTable> {
    const { exec, networks, servers } = this.parts;
    const known = networks();
    const all = exec.list();
    const present = all.filter(({ endpoints }) => endpoints.some(hasAddress));
    const gateways = new Set(known.flatMap(({ pools }) => pools.map(({ gateway }) => gateway)));
    const ways = new Map(
      present.map((container) => {
        const own = known.filter(({ id }) => container.endpoints.some(({ networkId }) => networkId === id));
        const wanted = (container.spec.dns?.servers ?? []).map((address) => ({
          address,
          way: wayTo(address, own, gateways),
        }));
        // With a server in itself the container asks all of them: it is refused here.
        return [container, wanted.some(({ way }) => way.kind === 'inside') ? [] : wanted];
      }),
    );
    await this.forwards.want(
      new Set([...ways.values()].flat().flatMap(({ address, way }) => (way.kind === 'forward' ? [address] : []))),
    );
    const ownServers = (container: ContainerInfo): AddressPort[] | null => {
      if ((container.spec.dns?.servers ?? []).length === 0) return null;
      return (ways.get(container) ?? []).flatMap(({ address, way }) =>
        way.kind === 'direct' ? way.server : (this.forwards.to(address) ?? []),
      );
    };
    const containers = new Map<string, NamesContainer>();
    for (const container of present) {
      const entry = namesContainer(container, all, ownServers(container), this.lookups(container.spec.id));
      if (entry !== null) containers.set(entry.id, entry);
    }
    return { networks: known.map(namesNetwork), servers: servers(), containers, reported: this.reported };
  }
}

const hasAddress = ({ address, address6 }: ContainerInfo['endpoints'][number]): boolean =>
  address !== '' || address6 !== '';

/** Whether a container can be on a network where containers are found by name; nobody has to wait for the others' names. */
export const hasNames = ({ spec }: Pick<ContainerInfo, 'spec'>): boolean =>
  spec.networks.some(({ network }) => network !== DEFAULT_NETWORK && network !== 'default');

/** What the engine needs of a {@link NamesFeed}. */
export type Names = Pick<NamesFeed, 'follow' | 'forwardAgain'>;

/** For an engine whose containers have no server of names. */
export const NO_NAMES: Names = { follow: async () => undefined, forwardAgain: async () => undefined };
