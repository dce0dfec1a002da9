/** Reads a compiled policy that another process sent. That process is not trusted: everything becomes part of nftables rules. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { invalid } from '../errors.js';
import { type CompiledPolicy, type GatewayPolicy, LIMITS, type SwitchPolicy } from './compiled.js';

/** Longer texts are not read. */
export const MAX_COMPILED = 16 * 2 ** 20;

const number = z.number().int().min(0).max(LIMITS.rules);
const port = z.number().int().min(0).max(65_535);
const group = z.number().int().min(1).max(LIMITS.groups);
const address = z.string().refine((text) => isIP(text) !== 0 && !text.includes('%'));
const mac = z.string().regex(/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/);
const spans = z
  .array(z.tuple([port, port, number]))
  .min(1)
  .max(LIMITS.spans);

const compiled = {
  rules: z
    .array(
      z.object({
        id: z.string().min(1).max(128),
        action: z.enum(['allow', 'drop', 'reject']),
        log: z.boolean(),
      }),
    )
    .min(1)
    .max(LIMITS.rules),
  profiles: z
    .array(z.object({ tcp: spans, udp: spans, icmp: number, other: number }))
    .min(1)
    .max(LIMITS.profiles),
  usual: number,
  pairs: z.array(z.tuple([group, group, number])).max(LIMITS.pairs),
};
const switchPolicy = z.object({ ...compiled, cards: z.record(mac, group) });
const gatewayPolicy = z.object({
  ...compiled,
  containers: z.array(z.tuple([address, group])).max(LIMITS.addresses),
  outside: z.array(z.tuple([address, address, group])).max(LIMITS.addresses),
  learned: z.array(z.tuple([address, group, z.number().int().min(1).max(86_400)])).max(LIMITS.addresses),
});

/** @throws invalid */
export function readSwitchPolicy(raw: unknown): SwitchPolicy {
  const read = switchPolicy.safeParse(raw);
  if (!read.success) throw invalid(`no policy of a switch: ${z.prettifyError(read.error).slice(0, 500)}`);
  if (Object.keys(read.data.cards).length > LIMITS.addresses) throw invalid('a policy with too many cards');
  return checked(read.data);
}

/** @throws invalid */
export function readGatewayPolicy(raw: unknown): GatewayPolicy {
  const read = gatewayPolicy.safeParse(raw);
  if (!read.success) throw invalid(`no policy of a gateway: ${z.prettifyError(read.error).slice(0, 500)}`);
  const { containers, learned } = read.data;
  for (const list of [containers, learned] as const)
    if (new Set(list.map(([one]) => one)).size !== list.length)
      throw invalid('a policy with an address that is there twice');
  return checked(read.data);
}

/** Numbers must lead somewhere, and spans must be whole. */
function checked<T extends CompiledPolicy>(policy: T): T {
  const { rules, profiles, usual, pairs } = policy;
  let all = 0;
  for (const { tcp, udp, icmp, other } of profiles) {
    for (const list of [tcp, udp]) {
      let next = 0;
      for (const [first, last, rule] of list) {
        if (first !== next || last < first || rule >= rules.length)
          throw invalid('a policy whose ports are not in order');
        next = last + 1;
        all++;
      }
      if (next !== 65_536) throw invalid('a policy that leaves ports out');
    }
    if (icmp >= rules.length || other >= rules.length) throw invalid('a policy that lacks rules');
  }
  if (all > LIMITS.spans) throw invalid('a policy with too many ports');
  if (usual >= profiles.length || pairs.some(([, , profile]) => profile >= profiles.length))
    throw invalid('a policy that lacks profiles');
  if (new Set(pairs.map(([from, to]) => from * 65_536 + to)).size !== pairs.length)
    throw invalid('a policy with a pair that is there twice');
  return policy;
}
