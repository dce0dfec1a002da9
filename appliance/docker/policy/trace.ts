/**
 * Says whether a container reaches another one, or something outside, and whether an answer comes back: by the policy as it is written, and by
 * real packets that are sent on behalf of both.
 */
import type { ExecService } from '../../../port-layer/index.js';
import { conflict, isKind, messageOf } from '../../../src/common/errors.js';
import type { ProbePacket } from '../../../src/common/policy/probe-packet.js';
import type { Gateway } from '../../gateway/index.js';
import { evaluate, type Verdict } from '../../policy/index.js';
import type { ProbeOutcome } from './host-policy.js';
import type { Policies } from './policies.js';
import { addressesOf, destination, type PacketPlaces, running, type Target, targetOf } from './trace-target.js';

/** One place on the way. */
export interface TraceHop {
  hop: 'model' | 'network' | 'switch' | 'gateway';
  /** `back`: the way of the answer. */
  way: 'there' | 'back';
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
  /** Whether an answer to it gets back. */
  answered: boolean;
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

/** A step on the way: what is to be shown, and whether the packet goes on. */
interface Step {
  hop: TraceHop;
  goesOn: boolean;
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
  const flow = { from: { kind: 'container' as const, subject: own }, to: target.party, protocol, port };
  const verdict = evaluate(policies.service.rules(), flow);
  const hops: TraceHop[] = [modelHop(verdict)];
  const result = { from: sender.spec.name, to: target.text, protocol, port, reached: false, answered: false, hops };
  const shared = target.party.kind === 'outside' || target.endpoint !== undefined;
  const places = shared ? addressesOf(sender, target) : null;
  hops.push(networkHop(shared, places));
  if (places === null) return result;
  const sourcePort = SOURCE_PORT + (last++ % 1000);
  const packet = { protocol, from: places.from, to: places.to, sourcePort, port };
  try {
    result.reached = await follow(hops, wayThere(parts, target, places, packet));
    if (result.reached) result.answered = await follow(hops, wayBack(parts, target, verdict, places, packet));
  } catch (error) {
    if (!isKind(error, 'notFound') && !isKind(error, 'unsupported') && !isKind(error, 'internal')) throw error;
    const way = result.reached ? 'back' : 'there';
    hops.push({ hop: 'switch', way, verdict: 'unknown', detail: `no packet could be sent: ${messageOf(error)}` });
  }
  return result;
}

/** Adds the steps until one of them ends the way. @returns whether none has */
async function follow(hops: TraceHop[], steps: AsyncIterable<Step>): Promise<boolean> {
  for await (const { hop, goesOn } of steps) {
    hops.push(hop);
    if (!goesOn) return false;
  }
  return true;
}

function modelHop({ action, rule, passed }: Verdict): TraceHop {
  const before = passed.map(({ id }) => id).join(', ');
  const detail = passed.length === 0 ? 'the first rule that matches' : `after ${before} left it to the next tier`;
  return { hop: 'model', way: 'there', verdict: action, rule: rule.id, detail };
}

function networkHop(shared: boolean, places: PacketPlaces | null): TraceHop {
  const hop = { hop: 'network', way: 'there' } as const;
  if (!shared) return { ...hop, verdict: 'drop', detail: 'they have no network in common' };
  if (places === null)
    return { ...hop, verdict: 'drop', detail: 'the sender has no address of that family with a way there' };
  return { ...hop, verdict: 'passes', detail: `${places.from} on ${places.network} to ${places.to}` };
}

async function* wayThere(
  { policies, gateway }: TraceParts,
  target: Target,
  { fromMac, toMac }: PacketPlaces,
  packet: ProbePacket,
): AsyncGenerator<Step> {
  const outside = target.party.kind === 'outside';
  if (outside) await gateway.policyTrace(packet);
  const sent = await policies.host.probe({ fromMac, toMac, packet });
  const seen = outside ? await gateway.policyTrace(null) : undefined;
  const { onSwitch, atGateway } = policies.service.inForce;
  const rule = sent.rule === undefined ? undefined : onSwitch?.rules[sent.rule];
  yield switchStep('there', sent, rule, outside ? 'the gateway' : target.text);
  if (!outside) return;
  const decided = seen?.rule === undefined ? undefined : atGateway?.rules[seen.rule];
  const refused = decided?.action === 'drop' || decided?.action === 'reject' || seen?.droppedIn !== undefined;
  const passed = seen?.seen === true && !refused;
  yield {
    goesOn: passed,
    hop: {
      hop: 'gateway',
      way: 'there',
      verdict: passed ? 'passes' : (decided?.action ?? 'drop'),
      ...(decided === undefined ? {} : { rule: decided.id }),
      detail: passed
        ? 'the packet came to what carries it outside'
        : seen?.seen === true
          ? `the packet was dropped in ${seen.droppedIn ?? 'its rules'}`
          : 'the packet did not come there',
    },
  };
}

/** An answer is no flow of its own: it passes because what it answers was allowed. */
async function* wayBack(
  { policies }: TraceParts,
  target: Target,
  { rule }: Verdict,
  { fromMac, toMac }: PacketPlaces,
  { protocol, from, to, sourcePort, port }: ProbePacket,
): AsyncGenerator<Step> {
  const outside = target.party.kind === 'outside';
  const detail = `an answer to what ${rule.id} allows`;
  yield { goesOn: true, hop: { hop: 'model', way: 'back', verdict: 'allow', rule: rule.id, detail } };
  if (outside) {
    const known = 'connection tracking knows the flow that it answers';
    yield { goesOn: true, hop: { hop: 'gateway', way: 'back', verdict: 'passes', detail: known } };
  }
  // The number of an echo stays the same in its answer.
  const ports = protocol === 'icmp' ? { sourcePort, port } : { sourcePort: port, port: sourcePort };
  const packet = { protocol, from: to, to: from, ...ports, answer: true };
  const sent = await policies.host.probe({ fromMac: toMac, toMac: fromMac, packet });
  const decided = sent.rule === undefined ? undefined : policies.service.inForce.onSwitch?.rules[sent.rule];
  // The rule that refuses what is no answer has been asked first.
  const own = sent.delivered && decided?.action !== 'allow' ? undefined : decided;
  yield switchStep('back', sent, own, 'the sender');
}

function switchStep(
  way: TraceHop['way'],
  { delivered, droppedIn }: ProbeOutcome,
  rule: { id: string; action: 'allow' | 'drop' | 'reject' } | undefined,
  towards: string,
): Step {
  const refused = rule?.action === 'reject';
  const passed = delivered && !refused;
  const what = way === 'there' ? 'a packet' : 'an answer';
  return {
    goesOn: passed,
    hop: {
      hop: 'switch',
      way,
      verdict: passed ? 'passes' : (rule?.action ?? 'drop'),
      ...(rule === undefined ? {} : { rule: rule.id }),
      detail: passed
        ? `${what} of ours left it towards ${towards}`
        : refused
          ? `${what} of ours was refused with an answer`
          : `${what} of ours was dropped${droppedIn === undefined ? '' : ` in ${droppedIn}`}`,
    },
  };
}
