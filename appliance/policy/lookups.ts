/**
 * Which outside names a container may look up. Questions for names carry data to whoever owns the name, so they are a way out: who may reach
 * nothing outside but certain names may ask for these alone. Pure.
 */
import { isSelected, type OrderedRule } from './evaluate.js';
import { isNamed, type Subject } from './parties.js';
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
  /** What rules from a place on allow, by the place. */
  const known = new Map<number, string[] | null>();
  const from = (place: number): string[] | null => {
    const before = known.get(place);
    if (before !== undefined) return before;
    const found = look(place);
    known.set(place, found);
    return found;
  };
  const look = (place: number): string[] | null => {
    const names: string[] = [];
    for (const { direction, select, peers, ports, action, next } of rules.slice(place)) {
      if (direction !== 'out' || !isSelected(select, { kind: 'container', subject })) continue;
      const everywhere = peers.some((peer) => isEverywhere(family, peer));
      const named = peers.flatMap((peer) => (peer.kind === 'names' ? peer.fqdns : []));
      if (action === 'allow') {
        if (everywhere) return null;
        names.push(...named);
      } else if (action === 'pass' && (everywhere || named.length > 0)) {
        const later = from(next);
        if (everywhere && later === null) return null;
        names.push(...(everywhere ? later! : inBoth(named, later)));
      }
      if (action !== 'allow' && everywhere && ports === null) break;
    }
    return names;
  };
  return from(0);
}

/** The names that one of the patterns of each list means. @param others null: all names */
function inBoth(patterns: readonly string[], others: readonly string[] | null): string[] {
  if (others === null) return [...patterns];
  return patterns.flatMap((one) =>
    others.flatMap((other) => (covers(one, other) ? [other] : covers(other, one) ? [one] : [])),
  );
}

/** Whether a pattern means all the names that another one means. */
const covers = (wide: string, narrow: string): boolean => wide === narrow || isNamed(wide, narrow.replace(/^\*/, 'x'));
