/** Reads a tier's policy from YAML. Whatever is wrong is reported with its line and what was expected. */
import { isIP } from 'node:net';
import { isMap, isNode, LineCounter, type ParsedNode, parseDocument } from 'yaml';
import { z } from 'zod';
import { invalid } from '../../src/common/errors.js';
import { type Peer, type Ports, PRESETS, type Rule, type Selector, type Tier, type TierPolicy } from './rules.js';

/** A policy is compiled at each change of a container, so it has to be of a bearable size. */
export const MAX_POLICY_BYTES = 2 ** 20;
const MAX_RULES = 2000;
const MAX_LIST = 1000;
const MAX_PROBLEMS = 20;
const USUAL_PRIORITY = 1000;
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;
const FQDN = /^(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

const word = z.string().min(1).max(255);
const words = z
  .union([word, z.array(word).min(1).max(MAX_LIST)])
  .transform((one) => (typeof one === 'string' ? [one] : one));
const label = z.union([z.string().max(1024), z.number(), z.boolean()]).transform(String);
const selectorFields = {
  labels: z.record(word, label).optional(),
  names: words.optional(),
  networks: words.optional(),
};
const selector = z.union([
  z.literal('any').transform((): Selector => ({})),
  z.strictObject(selectorFields).transform(selectorOf),
]);

const cidr = z.string().refine(isCidr, "expected an address or range such as '10.0.0.0/8' or 'fd00::/8'");
const fqdn = z
  .string()
  .transform((name) => name.toLowerCase().replace(/\.$/, ''))
  .refine((name) => name.length <= 253 && FQDN.test(name), "expected a name such as 'example.org' or '*.example.org'");
const list = <T extends z.ZodType>(one: T) =>
  z
    .union([one, z.array(one).min(1).max(MAX_LIST)])
    .transform((value) => (Array.isArray(value) ? value : [value]) as z.output<T>[]);

const peer = z.union([
  z.literal('any').transform((): Peer => ({ kind: 'any' })),
  z.literal('outside').transform((): Peer => ({ kind: 'outside' })),
  z
    .strictObject({ ...selectorFields, cidrs: list(cidr).optional(), fqdns: list(fqdn).optional() })
    .superRefine((value, context) => {
      const { cidrs, fqdns, ...fields } = value;
      const kinds = [cidrs !== undefined, fqdns !== undefined, Object.values(fields).some((one) => one !== undefined)];
      if (kinds.filter(Boolean).length !== 1)
        context.addIssue({
          code: 'custom',
          message: "expected either labels/names/networks, or cidrs, or fqdns; several kinds are a list: '[{…}, {…}]'",
        });
    })
    .transform(({ cidrs, fqdns, ...fields }): Peer => {
      if (cidrs !== undefined) return { kind: 'ranges', cidrs };
      if (fqdns !== undefined) return { kind: 'names', fqdns };
      return { kind: 'containers', selector: selectorOf(fields) };
    }),
]);

const ports = z.union([z.string(), z.number()]).transform((text, context): Ports => {
  const found = parsePorts(String(text));
  if (found !== null) return found;
  context.addIssue({
    code: 'custom',
    message: "expected 'tcp/443', 'udp/5000-5100', 'tcp', 'udp', 'icmp', or a port of tcp",
  });
  return z.NEVER;
});

const rule = z
  .strictObject({
    name: z.string().regex(NAME, 'expected 1 to 63 letters, digits, and any of ._-'),
    direction: z.enum(['in', 'out']),
    select: selector.optional(),
    peer: z.union([peer, z.array(peer).min(1).max(MAX_LIST)]).optional(),
    ports: z.union([ports, z.array(ports).min(1).max(MAX_LIST)]).optional(),
    action: z.enum(['allow', 'drop', 'reject', 'pass']),
    priority: z.number().int().min(0).max(1_000_000).optional(),
    log: z.boolean().optional(),
  })
  .superRefine(({ direction, peer: given }, context) => {
    const peers = given === undefined ? [] : Array.isArray(given) ? given : [given];
    if (direction === 'in' && peers.some(({ kind }) => kind === 'names'))
      context.addIssue({ code: 'custom', path: ['peer'], message: "fqdns are possible only with 'direction: out'" });
  });

const fileOf = (tier: Tier) =>
  z.strictObject({
    version: z.literal(1).optional(),
    ...(tier === 'default' ? { preset: z.enum(PRESETS).optional() } : {}),
    rules: z.array(rule).max(MAX_RULES).optional(),
  });

/** @param text YAML; empty: no rules @throws invalid with one line for each problem: `line 4: rules[0].action: …` */
export function readPolicy(text: string, tier: Tier): TierPolicy {
  if (Buffer.byteLength(text) > MAX_POLICY_BYTES) throw invalid('the policy is larger than 1 MiB');
  const lines = new LineCounter();
  // Aliases could make a small file a huge policy.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0)
    throw invalid(
      document.errors.map(({ pos, message }) => `line ${lines.linePos(pos[0]).line}: ${message}`).join('\n'),
    );
  const content = document.toJS({ maxAliasCount: 0 }) as unknown;
  const read = fileOf(tier).safeParse(content ?? {});
  if (!read.success) {
    const problems = read.error.issues.slice(0, MAX_PROBLEMS).flatMap((issue) => flat(issue));
    throw invalid(
      problems
        .map(({ path, message }) => `line ${lineOf(document.contents, path, lines)}: ${pathText(path)}${message}`)
        .join('\n'),
    );
  }
  const { rules = [] } = read.data;
  const twice = rules.findIndex(({ name }, at) => rules.findIndex((one) => one.name === name) !== at);
  if (twice >= 0)
    throw invalid(
      `line ${lineOf(document.contents, ['rules', twice, 'name'], lines)}: rules[${twice}].name: there is another rule '${rules[twice]!.name}' in this file`,
    );
  const preset = (read.data as { preset?: TierPolicy['preset'] }).preset;
  return {
    rules: rules.map((one) => ruleOf(one, tier)),
    ...(preset === undefined ? {} : { preset }),
  };
}

function ruleOf(one: z.output<typeof rule>, tier: Tier): Rule {
  const peers = one.peer === undefined ? [{ kind: 'any' } as const] : Array.isArray(one.peer) ? one.peer : [one.peer];
  return {
    id: `${tier}/${one.name}`,
    direction: one.direction,
    select: one.select ?? {},
    peers,
    ports: one.ports === undefined ? null : Array.isArray(one.ports) ? one.ports : [one.ports],
    action: one.action,
    priority: one.priority ?? USUAL_PRIORITY,
    log: one.log ?? false,
  };
}

function selectorOf(fields: {
  labels?: Record<string, string> | undefined;
  names?: string[] | undefined;
  networks?: string[] | undefined;
}): Selector {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

interface Problem {
  path: PropertyKey[];
  message: string;
}

/** Of a union, the alternative that went furthest is what the author meant. */
function flat(issue: z.core.$ZodIssue, before: PropertyKey[] = []): Problem[] {
  const path = [...before, ...issue.path];
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return [{ path, message: issue.message }];
  const depth = (issues: z.core.$ZodIssue[]): number =>
    Math.max(
      ...issues.map(
        (one) => one.path.length * 2 + (one.code === 'invalid_type' || one.code === 'invalid_value' ? 0 : 1),
      ),
    );
  const best = issue.errors.reduce((one, other) => (depth(other) > depth(one) ? other : one));
  return best.flatMap((one) => flat(one, path));
}

function pathText(path: PropertyKey[]): string {
  const text = path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('');
  return text === '' ? '' : `${text.replace(/^\./, '')}: `;
}

/** The line of the nearest thing that exists on that path. */
function lineOf(root: ParsedNode | null, path: PropertyKey[], lines: LineCounter): number {
  let line = 1;
  let at: unknown = root;
  for (const part of ['', ...path]) {
    if (part !== '') {
      if (isMap(at)) {
        const pair = at.items.find(({ key }) => String(key) === String(part));
        if (isNode(pair?.key) && pair.key.range) line = lines.linePos(pair.key.range[0]).line;
        at = pair?.value;
      } else at = (at as { items?: unknown[] } | null)?.items?.[Number(part)];
    }
    if (!isNode(at)) return line;
    if (at.range) line = lines.linePos(at.range[0]).line;
  }
  return line;
}

function isCidr(text: string): boolean {
  const [address = '', prefix, ...more] = text.split('/');
  const family = isIP(address);
  if (family === 0 || more.length > 0 || address.includes('%')) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128));
}

function parsePorts(text: string): Ports | null {
  const match = /^(?:(tcp|udp|icmp)(?:\/(?=\d))?)?(\d+)?(?:-(\d+))?$/.exec(text);
  const [, protocol = 'tcp', from, to] = match ?? [];
  if (match === null || text === '' || (from === undefined && to !== undefined)) return null;
  if (from === undefined) return { protocol: protocol as Ports['protocol'], first: 0, last: 65_535 };
  const [first, last] = [Number(from), Number(to ?? from)];
  if (protocol === 'icmp' || first > last || last > 65_535 || (match[1] !== undefined && !text.includes('/')))
    return null;
  return { protocol: protocol as Ports['protocol'], first, last };
}
