/**
 * The policies of the virtual container hosts on a switch (`policy-rules.ts`), each in a table of its own, which is replaced as a whole. One
 * without a policy costs nothing.
 */
import { basename } from 'node:path';
import { invalid, messageOf, notFound, unsupported } from '../../common/errors.js';
import type { SwitchPolicy } from '../../common/policy/compiled.js';
import {
  type Present,
  parseCounters,
  parsePresent,
  type RuleCount,
  replaceTable,
} from '../../common/policy/nft-rules.js';
import { PolicyLog } from '../../common/policy/policy-log.js';
import type { RuntimeNic } from '../runtime.js';
import { nft, nftCounters, nftSummary, nftTables } from './ip.js';
import { type ProbeRequest, type ProbeResult, sendProbe } from './policy-probe.js';
import { cardElements, cardsText, type PolicyCard, switchTable, tableName } from './policy-rules.js';
import { TABLE as SOURCE_TABLE } from './source-rules.js';

interface KnownCard extends PolicyCard {
  vch: string;
  addresses: readonly string[] | undefined;
  portGroup: string;
}

interface Enforced {
  policy: SwitchPolicy;
  present: Present;
  /** The cards that the kernel knows, by port, with their MAC address and group. */
  cards: Map<string, string>;
}

/** A port of the switch as the policies see it. */
export interface PolicyPort {
  name: string;
  nic: Pick<RuntimeNic, 'mac' | 'vch' | 'addresses' | 'portGroup'>;
}

/** All changes are made one after the other. */
export class PolicyTables {
  /** Connected cards of powered-on VMs that belong to a virtual container host, by port. */
  private readonly cards = new Map<string, KnownCard>();
  /** The gateways' cards, by port. */
  private readonly gateways = new Map<string, PolicyPort['nic']>();
  private readonly enforced = new Map<string, Enforced>();
  private turn: Promise<unknown> = Promise.resolve();

  private readonly logs: PolicyLog;

  /** @param namespacePath the switch's */
  constructor(
    private readonly namespacePath: string,
    logs = new PolicyLog(namespacePath),
  ) {
    this.logs = logs;
  }

  /** Tells the policies about cards, before they can send anything. @throws internal */
  async add(ports: readonly PolicyPort[]): Promise<void> {
    const cards = ports.flatMap(({ name, nic: { mac, vch, addresses, portGroup } }) =>
      vch === undefined ? [] : [{ port: name, mac: mac.toLowerCase(), vch, addresses, portGroup }],
    );
    for (const card of cards) this.cards.set(card.port, card);
    for (const vch of new Set(cards.map((card) => card.vch)))
      if (this.enforced.has(vch))
        await this.inTurn(() => {
          const fresh = new Set(cards.map(({ port }) => port));
          return this.put(
            vch,
            this.cardsOf(vch).filter(({ port }) => fresh.has(port)),
          );
        });
  }

  /** An endpoint's cards, whose flows are not judged here. They answer what is refused. @throws internal */
  async addGateway(ports: readonly PolicyPort[]): Promise<void> {
    for (const { name, nic } of ports) this.gateways.set(name, nic);
    // After a restart containers' cards may be known before their gateway's.
    for (const vch of new Set(ports.flatMap(({ nic }) => nic.vch ?? [])))
      if (this.enforced.has(vch)) await this.inTurn(() => this.put(vch, this.cardsOf(vch)));
  }

  private cardsOf(vch: string): KnownCard[] {
    const gateways = new Map(
      [...this.gateways.values()].flatMap((nic): [string, string][] =>
        nic.vch === vch ? [[nic.portGroup, nic.mac.toLowerCase()]] : [],
      ),
    );
    return [...this.cards.values()].flatMap((card) =>
      card.vch === vch ? [{ ...card, gateway: gateways.get(card.portGroup) }] : [],
    );
  }

  /** Forgets cards. Their elements go with the next change of the policy: nobody else gets their names. */
  remove(names: readonly string[]): void {
    for (const name of names) {
      this.cards.delete(name);
      this.gateways.delete(name);
    }
  }

  /**
   * Enforces a policy from now on; null: none. Flows that the new policy allows too do not notice.
   * @param vch id of a virtual container host
   * @throws unsupported if this machine cannot do it; the policy before it stays
   */
  set(vch: string, policy: SwitchPolicy | null): Promise<void> {
    return this.inTurn(() => (policy === null ? this.drop(vch) : this.replace(vch, policy)));
  }

  /** Removes what an earlier hostd enforced for virtual container hosts that are not among these. */
  async keep(vchs: readonly string[]): Promise<void> {
    const wanted = vchs.map(tableName);
    const tables = await nftTables(this.namespacePath).catch((): string[] => []);
    for (const table of tables)
      if (table.startsWith(tableName('')) && !wanted.includes(table))
        await nft(this.namespacePath, `delete table ${table}`);
  }

  /** What each rule has decided about, by its id; null without a policy. */
  async counts(vch: string): Promise<Map<string, RuleCount> | null> {
    const there = this.enforced.get(vch);
    if (there === undefined) return null;
    const ids = [...there.policy.rules.map(({ id }) => id), 'unlisted'];
    return parseCounters(await nftCounters(this.namespacePath, tableName(vch)), ids);
  }

  /**
   * Sends a packet from a container's card and watches its way.
   * @throws notFound for cards that are not there or not this virtual container host's, invalid for a sender that the card may not be
   */
  async probe(vch: string, request: ProbeRequest): Promise<ProbeResult> {
    const own = this.cardsOf(vch);
    const [first, second] = [request.fromMac, request.toMac].map((mac) => own.find((card) => card.mac === mac));
    const portGroup = (first ?? second)?.portGroup;
    const gateways = [...this.gateways].flatMap(([port, nic]) =>
      nic.portGroup === portGroup && nic.vch === vch ? [{ port, mac: nic.mac.toLowerCase() }] : [],
    );
    const place = (mac: string, card: PolicyCard | undefined): Pick<PolicyCard, 'port' | 'mac'> | undefined =>
      mac === 'gateway' ? gateways[0] : card;
    const [from, to] = [place(request.fromMac, first), place(request.toMac, second)];
    if (from === undefined) throw notFound('the sender has no card on the switch');
    if (first?.addresses?.includes(request.packet.from) === false)
      throw invalid('that is not an address of the sender');
    if (to === undefined || (first !== undefined && second !== undefined && first.portGroup !== second.portGroup))
      throw notFound('the receiver has no card on the network of the sender');
    const packet = { ...request, fromMac: from.mac, toMac: to.mac };
    const table = this.enforced.has(vch) ? tableName(vch) : undefined;
    const checks = (await nftTables(this.namespacePath)).includes(SOURCE_TABLE);
    const policy = this.enforced.get(vch)?.policy;
    return this.inTurn(() =>
      sendProbe(
        { namespace: basename(this.namespacePath), path: this.namespacePath },
        packet,
        { from: from.port, to: to.port },
        table,
        (port) => {
          const elements = [
            ...(checks ? [`${SOURCE_TABLE} unchecked { "${port}" }`] : []),
            ...(policy === undefined || first === undefined ? [] : cardElements(vch, policy, { ...first, port })),
          ];
          return {
            add: elements.map((one) => `add element ${one}`),
            remove: elements.map((one) => `delete element ${one.replace(/ : \S+/, '')}`),
          };
        },
      ),
    );
  }

  /** What is enforced for a virtual container host. */
  policyOf(vch: string): SwitchPolicy | undefined {
    return this.enforced.get(vch)?.policy;
  }

  /** hostd stops: what is enforced stays. */
  close(): void {
    this.logs.close();
  }

  private async replace(vch: string, policy: SwitchPolicy): Promise<void> {
    const cards = this.cardsOf(vch);
    try {
      const present = this.enforced.get(vch)?.present ?? (await this.look(vch));
      const text = switchTable(vch, policy, cards);
      await nft(this.namespacePath, replaceTable(text, present));
      this.logs.follow(tableName(vch), policy.rules);
      this.enforced.set(vch, {
        policy,
        present: { chains: [...text.chains.keys()], counters: text.counters },
        cards: new Map(cards.map((card) => [card.port, value(card, policy)])),
      });
    } catch (error) {
      throw unsupported(`the policy cannot be enforced on this machine: ${messageOf(error).split('\n')[0]}`, error);
    }
  }

  private async drop(vch: string): Promise<void> {
    const table = tableName(vch);
    this.logs.follow(table, null);
    if (this.enforced.delete(vch) || (await nftTables(this.namespacePath).catch((): string[] => [])).includes(table))
      await nft(this.namespacePath, `delete table ${table}`);
  }

  private async put(vch: string, cards: readonly KnownCard[]): Promise<void> {
    const there = this.enforced.get(vch);
    if (there === undefined) return;
    const fresh = cards.filter((card) => there.cards.get(card.port) !== value(card, there.policy));
    if (fresh.length === 0) return;
    // One that was there with another address or group: its elements have to go first.
    if (fresh.some(({ port }) => there.cards.has(port))) return this.replace(vch, there.policy);
    await nft(this.namespacePath, cardsText(vch, there.policy, fresh)).catch(() => this.replace(vch, there.policy));
    for (const card of fresh) there.cards.set(card.port, value(card, there.policy));
  }

  /** What an earlier hostd left. */
  private async look(vch: string): Promise<Present> {
    const there = (await nftTables(this.namespacePath)).includes(tableName(vch));
    return there ? parsePresent(await nftSummary(this.namespacePath, tableName(vch))) : { chains: [], counters: [] };
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.turn.then(work);
    this.turn = done.catch(() => undefined);
    return done;
  }
}

/** What the kernel knows of a card. */
const value = ({ mac, gateway }: PolicyCard, policy: SwitchPolicy): string =>
  `${mac} ${policy.cards[mac.toLowerCase()] ?? ''} ${gateway ?? ''}`;
