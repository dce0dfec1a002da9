/**
 * Says whether a container reaches another one, or something outside, and what decides: by the policy as it is written, and by a real packet
 * that is sent on the container's behalf.
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { ContainerInfo, ExecService, NetworkEndpoint } from '../../../port-layer/index.js';
import { conflict, invalid, isKind, messageOf } from '../../../src/common/errors.js';
import type { Gateway } from '../../gateway/index.js';
import { evaluate, type Party, type Subject } from '../../policy/index.js';
import type { Policies } from './policies.js';

/** One place on the way. */
export interface TraceHop {
  hop: 'model' | 'network' | 'switch' | 'gateway';
  /** What becomes of the packet there. */
  verdict: 'allow' | 'drop' | 'reject' | 'passes' | 'unknown';
  /** `<tier>/<name>` of the rule that decides. */
  rule?: string;
  detail: string;
}

export interface Trace {
  from: string;
  to: string;
  protocol: string;
  port: number;
  /** Whether the packet of the trace got through to where it was meant to go. */
  reached: boolean;
  hops: TraceHop[];
}

export interface TraceParts {
  exec: Pick<ExecService, 'resolve' | 'list'>;
  policies: Policies;
  gateway: Pick<Gateway, 'policyTrace'>;
}

export interface TraceRequest {
  from: string;
  /** `container:port`, `address:port`, `[IPv6]:port`, `name:port`; without a port for icmp. */
  to: string;
  protocol: 'tcp' | 'udp' | 'icmp';
}

interface Target {
  party: Party;
  text: string;
  /** Of a container: the endpoint on a network of the sender; undefined: there is none. */
  endpoint?: NetworkEndpoint | undefined;
}

/** Source ports of traces: hardly anybody else's. */
const SOURCE_PORT = 61_000;
let last = 0;

/** @throws notFound, invalid, conflict for a container that does not run */
export async function trace(parts: TraceParts, { from, to, protocol }: TraceRequest): Promise<Trace> {
  const { exec, policies } = parts;
  const sender = running(exec.resolve(from));
  const [name, port] = destination(to, protocol);
  const subjects = policies.host.subjects();
  const own = subjects.find(({ id }) => id === sender.spec.id);
  if (own === undefined) throw conflict(`${sender.spec.name} has no address`);
  const target = await targetOf(exec, sender, subjects, name);
  const rules = policies.service.rules();
  const flow = { from: { kind: 'container' as const, subject: own }, to: target.party, protocol, port };
  const verdict = evaluate(rules, flow);
  const hops: TraceHop[] = [
    {
      hop: 'model',
      verdict: verdict.action,
      rule: verdict.rule.id,
      detail:
        verdict.passed.length === 0
          ? 'the first rule that matches'
          : `after ${verdict.passed.map(({ id }) => id).join(', ')} left it to the next tier`,
    },
  ];
  const result = (reached: boolean): Trace => ({
    from: sender.spec.name,
    to: target.text,
    protocol,
    port,
    reached,
    hops,
  });
  if (target.party.kind === 'container' && target.endpoint === undefined) {
    hops.push({ hop: 'network', verdict: 'drop', detail: 'they have no network in common' });
    return result(false);
  }
  const pair = addressesOf(sender, target);
  if (pair === null) {
    hops.push({ hop: 'network', verdict: 'drop', detail: 'the sender has no address of that family with a way there' });
    return result(false);
  }
  hops.push({ hop: 'network', verdict: 'passes', detail: `${pair.from} on ${pair.network} to ${pair.to}` });
  const outside = target.party.kind === 'outside';
  const sourcePort = SOURCE_PORT + (last++ % 1000);
  const packet = { protocol, from: pair.from, to: pair.to, sourcePort, port };
  try {
    if (outside) await parts.gateway.policyTrace(packet);
    const sent = await policies.host.probe({ fromMac: pair.fromMac, toMac: pair.toMac, packet });
    const atGateway = outside ? await parts.gateway.policyTrace(null) : undefined;
    const { onSwitch, atGateway: compiled } = policies.service.inForce;
    const rule = sent.rule === undefined ? undefined : onSwitch?.rules[sent.rule];
    hops.push({
      hop: 'switch',
      verdict: sent.delivered ? 'passes' : (rule?.action ?? 'drop'),
      ...(rule === undefined ? {} : { rule: rule.id }),
      detail: sent.delivered
        ? `a packet of ours left it towards ${outside ? 'the gateway' : target.text}`
        : `a packet of ours was dropped${sent.droppedIn === undefined ? '' : ` in ${sent.droppedIn}`}`,
    });
    if (!outside || !sent.delivered) return result(sent.delivered);
    const decided = atGateway?.rule === undefined ? undefined : compiled?.rules[atGateway.rule];
    const passed =
      atGateway?.seen === true &&
      atGateway.droppedIn === undefined &&
      decided?.action !== 'drop' &&
      decided?.action !== 'reject';
    hops.push({
      hop: 'gateway',
      verdict: passed ? 'passes' : (decided?.action ?? 'drop'),
      ...(decided === undefined ? {} : { rule: decided.id }),
      detail: passed
        ? 'the packet came to what carries it outside'
        : atGateway?.seen === true
          ? `the packet was dropped in ${atGateway.droppedIn ?? 'its rules'}`
          : 'the packet did not come there',
    });
    return result(passed);
  } catch (error) {
    if (isKind(error, 'notFound') || isKind(error, 'unsupported') || isKind(error, 'internal')) {
      hops.push({ hop: 'switch', verdict: 'unknown', detail: `no packet could be sent: ${messageOf(error)}` });
      return result(false);
    }
    throw error;
  }
}

function running(container: ContainerInfo): ContainerInfo {
  if (container.state !== 'running') throw conflict(`Container ${container.spec.id} is not running`);
  return container;
}

/** @throws invalid */
function destination(to: string, protocol: TraceRequest['protocol']): [name: string, port: number] {
  if (protocol === 'icmp') return [to.replace(/^\[(.*)\]$/, '$1'), 0];
  const [, bracketed, plain = '', port] = /^(?:\[([^\]]*)\]|(.*)):(\d{1,5})$/.exec(to) ?? [];
  const name = bracketed ?? plain;
  if (port === undefined || Number(port) > 65_535 || name === '') throw invalid(`'${to}' is not of the form name:port`);
  return [name, Number(port)];
}

async function targetOf(
  exec: TraceParts['exec'],
  sender: ContainerInfo,
  subjects: readonly Subject[],
  name: string,
): Promise<Target> {
  const byAddress = isIP(name) === 0 ? undefined : subjects.find(({ addresses }) => addresses.includes(name));
  const found = isIP(name) !== 0 ? byAddress?.id : containerId(exec, name);
  if (found !== undefined) {
    const container = running(exec.resolve(found));
    const subject = subjects.find(({ id }) => id === container.spec.id);
    if (subject === undefined) throw conflict(`${container.spec.name} has no address`);
    const ids = new Set(sender.endpoints.map(({ networkId }) => networkId));
    const shared = container.endpoints.filter(({ networkId }) => ids.has(networkId));
    const endpoint = shared.find(({ address, address6 }) => address === name || address6 === name) ?? shared[0];
    return { party: { kind: 'container', subject }, text: container.spec.name, endpoint };
  }
  if (isIP(name) !== 0) return { party: { kind: 'outside', address: name, names: [] }, text: name };
  const answer = await lookup(name).catch((error: unknown) => {
    throw invalid(`'${name}' is neither a container nor a name that can be looked up: ${messageOf(error)}`);
  });
  return {
    party: { kind: 'outside', address: answer.address, names: [name.toLowerCase()] },
    text: `${name} (${answer.address})`,
  };
}

function containerId(exec: TraceParts['exec'], reference: string): string | undefined {
  try {
    return exec.resolve(reference).spec.id;
  } catch (error) {
    if (isKind(error, 'notFound')) return undefined;
    throw error;
  }
}

/** Whence and whereto the packet is sent. */
function addressesOf(
  sender: ContainerInfo,
  { party, endpoint }: Target,
): { from: string; to: string; fromMac: string; toMac: string; network: string } | null {
  if (party.kind === 'outside') {
    const six = isIP(party.address) === 6;
    const own = sender.endpoints.find(
      (one) =>
        !one.internal && (six ? one.gateway6 !== '' && one.address6 !== '' : one.gateway !== '' && one.address !== ''),
    );
    if (own === undefined) return null;
    return {
      from: six ? own.address6 : own.address,
      to: party.address,
      fromMac: own.mac.toLowerCase(),
      toMac: 'gateway',
      network: own.network,
    };
  }
  const own = sender.endpoints.find(({ networkId }) => networkId === endpoint?.networkId);
  if (own === undefined || endpoint === undefined) return null;
  const six = own.address === '' || endpoint.address === '';
  const [from, to] = six ? [own.address6, endpoint.address6] : [own.address, endpoint.address];
  if (from === '' || to === '') return null;
  return { from, to, fromMac: own.mac.toLowerCase(), toMac: endpoint.mac.toLowerCase(), network: own.network };
}
