/** What a policy says about a flow, and which rule says it. Pure. */
import { type Flow, isPeer, type Party, selects } from './parties.js';
import { presetRules } from './presets.js';
import { type Policy, type Ports, type Protocol, type Rule, type Selector, TIERS } from './rules.js';

/** Rules in the order in which they are asked; each knows where a `pass` leads. */
export interface OrderedRule extends Rule {
  /** The place of the first rule of the next tier. */
  next: number;
}

export interface Verdict {
  action: 'allow' | 'drop' | 'reject';
  /** The rule that decides. */
  rule: OrderedRule;
  /** Rules before it that left it to the next tier. */
  passed: OrderedRule[];
}

/** All rules in order, those of the preset last. @param resolvers see {@link presetRules} */
export function ordered(policy: Policy, resolvers: readonly string[] = []): OrderedRule[] {
  const all: OrderedRule[] = [];
  for (const tier of TIERS) {
    const rules = [...policy[tier].rules].sort((a, b) => a.priority - b.priority);
    const next = all.length + rules.length;
    all.push(...rules.map((rule) => ({ ...rule, next })));
  }
  const preset = presetRules(policy.default.preset ?? 'open', resolvers);
  const end = all.length + preset.length;
  return [...all, ...preset.map((rule) => ({ ...rule, next: end }))];
}

/** True if nothing would ever be refused. */
export function allowsAll(policy: Policy): boolean {
  return (
    (policy.default.preset ?? 'open') === 'open' &&
    TIERS.every((tier) =>
      policy[tier].rules.every(({ action, log }) => (action === 'allow' || action === 'pass') && !log),
    )
  );
}

/** The verdict about a flow of which at least one end is a container. */
export function evaluate(rules: readonly OrderedRule[], flow: Flow): Verdict {
  const passed: OrderedRule[] = [];
  for (let at = 0; at < rules.length; ) {
    const rule = rules[at]!;
    if (!applies(rule, flow)) at++;
    else if (rule.action === 'pass') {
      passed.push(rule);
      at = rule.next;
    } else return { action: rule.action, rule, passed };
  }
  throw new Error('the last rules of a policy decide about every flow of a container');
}

function applies({ direction, select, peers, ports }: Rule, { from, to, protocol, port }: Flow): boolean {
  const [own, other] = direction === 'out' ? [from, to] : [to, from];
  return isSelected(select, own) && isPeer(peers, other) && hasPort(ports, protocol, port);
}

/** True if the party is a container that matches. */
export function isSelected(selector: Selector, party: Party): boolean {
  return party.kind === 'container' && selects(selector, party.subject);
}

function hasPort(ports: readonly Ports[] | null, protocol: Protocol, port: number): boolean {
  return ports?.some((one) => one.protocol === protocol && one.first <= port && port <= one.last) ?? true;
}
