/**
 * What a virtual container host's containers may send to each other: its endpoint sets that in a key of its own VM, and asks in another what
 * each rule has decided about. The answer is a key too, and is there when the reconfiguration has ended.
 */
import { createHash } from 'node:crypto';
import { kindOf, messageOf } from '../../common/errors.js';
import { MAX_COMPILED, readSwitchPolicy } from '../../common/policy/read-compiled.js';
import { isEndpointConfig, OWNER_KEY } from '../access/scope.js';
import { fault } from '../faults.js';
import type { ProbeRequest } from '../switch/policy-probe.js';
import { readProbe } from '../switch/policy-probe.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';

/** A SwitchPolicy (`src/common/policy`) as JSON; absent: everything is allowed. */
export const POLICY_KEY = 'caisson.policy';
/** Which policy is enforced: the beginning of the SHA-256 of {@link POLICY_KEY}'s text. The host sets it. */
export const ENFORCED_KEY = 'caisson.policy.enforced';
/** `{id, probe?}`: asks for the counters, or for the way of a packet. */
export const ASK_KEY = 'caisson.policy.ask';
/** `{id, counts}` or `{id, probe}` or `{id, error}`. The host sets it. */
export const ANSWER_KEY = 'caisson.policy.answer';

type Keys = ReadonlyMap<string, string>;
type Flows = Pick<VirtualSwitch, 'flows'>;

/**
 * Enforces what has changed, before the VM's configuration says so.
 * @param after gets the host's own keys
 * @throws InvalidArgument, NotSupported; nothing is changed then
 */
export async function enforcePolicy(host: Flows | null, before: Keys, after: Map<string, string>): Promise<void> {
  if (!isEndpointConfig(after)) return;
  const vch = after.get(OWNER_KEY);
  if (after.get(POLICY_KEY) !== before.get(POLICY_KEY) && vch !== undefined) await change(host, vch, after);
  if (after.get(ASK_KEY) !== before.get(ASK_KEY) && after.has(ASK_KEY))
    after.set(ANSWER_KEY, JSON.stringify(await answer(host, vch ?? '', after.get(ASK_KEY) ?? '')));
}

/** Enforces what the endpoints of a host that has just been started had. */
export async function restorePolicies(host: Flows, endpoints: readonly Keys[]): Promise<void> {
  const owners: string[] = [];
  for (const keys of endpoints) {
    const [vch, text] = [keys.get(OWNER_KEY), keys.get(POLICY_KEY)];
    if (vch === undefined || text === undefined) continue;
    owners.push(vch);
    await host.flows.set(vch, readSwitchPolicy(JSON.parse(text)));
  }
  await host.flows.keep(owners);
}

async function change(host: Flows | null, vch: string, after: Map<string, string>): Promise<void> {
  const text = after.get(POLICY_KEY);
  try {
    if (text !== undefined && text.length > MAX_COMPILED) throw new Error('it is too large');
    if (host === null) throw new Error('this host has no switch');
    await host.flows.set(vch, text === undefined ? null : readSwitchPolicy(JSON.parse(text)));
  } catch (error) {
    if (kindOf(error) === 'unsupported') throw fault('NotSupported', messageOf(error));
    throw fault('InvalidArgument', `${POLICY_KEY}: ${messageOf(error)}`, { invalidProperty: 'configSpec.extraConfig' });
  }
  if (text === undefined) after.delete(ENFORCED_KEY);
  else after.set(ENFORCED_KEY, createHash('sha256').update(text).digest('hex').slice(0, 16));
}

async function answer(host: Flows | null, vch: string, text: string): Promise<object> {
  let id: unknown;
  try {
    if (host === null) throw new Error('this host has no switch');
    const asked = JSON.parse(text) as { id?: unknown; probe?: unknown };
    id = typeof asked.id === 'string' ? asked.id.slice(0, 64) : undefined;
    if (asked.probe !== undefined) {
      const probe: ProbeRequest = readProbe(asked.probe);
      return { id, probe: await host.flows.probe(vch, probe) };
    }
    const counts = await host.flows.counts(vch);
    return { id, counts: Object.fromEntries(counts ?? []) };
  } catch (error) {
    return { id, error: messageOf(error) };
  }
}
