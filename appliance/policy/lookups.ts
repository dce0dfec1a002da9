/**
 * Which outside names a container may look up. Questions for names carry data to whoever owns the name, so they are a way out: who may reach
 * nothing outside but certain names may ask for these alone. Pure.
 */
import { isSelected, type OrderedRule } from './evaluate.js';
import type { Subject } from './parties.js';
import type { Peer } from './rules.js';

/** All addresses of a family. */
const WHOLE = { 4: /^[^:]*\/0+$/, 6: /:.*\/0+$/ } as const;

/** Peers that are every outside address of a family. Smaller ranges say nothing about names. */
const isEverywhere = (family: 4 | 6, peer: Peer): boolean =>
  peer.kind === 'any' ||
  peer.kind === 'outside' ||
  (peer.kind === 'ranges' && peer.cidrs.some((one) => WHOLE[family].test(one)));

/**
 * @returns the names of rules that allow it something, exact or `*.suffix`; null: all names, since a rule allows it something at every outside
 * address. A rule that refuses a name does not keep it from being looked up: it works by the addresses that the answer tells.
 */
export function lookupsOf(rules: readonly OrderedRule[], subject: Subject): string[] | null {
  const [four, six] = ([4, 6] as const).map((family) => namesOf(family, rules, subject));
  return four == null || six == null ? null : [...new Set([...four, ...six])].sort();
}

/** As far as addresses of a family matter. */
function namesOf(family: 4 | 6, rules: readonly OrderedRule[], subject: Subject): string[] | null {
  const names: string[] = [];
  for (let at = 0; at < rules.length; ) {
    const { direction, select, peers, ports, action, next } = rules[at]!;
    const everywhere = peers.some((peer) => isEverywhere(family, peer));
    at++;
    if (direction !== 'out' || !isSelected(select, { kind: 'container', subject })) continue;
    if (action === 'allow') {
      if (everywhere) return null;
      names.push(...peers.flatMap((peer) => (peer.kind === 'names' ? peer.fqdns : [])));
    } else if (everywhere && ports === null) {
      if (action !== 'pass') break;
      at = next;
    }
  }
  return names;
}
