/** The rules of the presets: what is asked last, after all rules of the tier `default`. */
import type { Action, Peer, Ports, Preset, Rule } from './rules.js';

/**
 * Ranges in which there are only a site's own machines and services of its cloud (RFC 6890 and the registries that it set up), and
 * addresses outside these under which clouds tell machines their secrets.
 */
const PRIVATE = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '224.0.0.0/3',
  '::/128',
  '::1/128',
  // IPv4 in other clothes: mapped, translated, 6to4.
  '::ffff:0:0/96',
  '64:ff9b::/96',
  '64:ff9b:1::/48',
  '2002::/16',
  'fc00::/7',
  'fe80::/10',
  'ff00::/8',
];
const METADATA = ['168.63.129.16/32'];

const DNS: Ports[] = [
  { protocol: 'udp', first: 53, last: 53 },
  { protocol: 'tcp', first: 53, last: 53 },
];

function rule(
  name: string,
  direction: Rule['direction'],
  action: Action,
  peers: Peer[],
  ports: Ports[] | null = null,
): Rule {
  return { id: `preset/${name}`, direction, select: {}, peers, ports, action, priority: 0, log: false };
}

/**
 * @param resolvers addresses of the machine's name servers, which containers of the default network ask directly
 * @returns rules of which the last decide about every flow of a container
 */
export function presetRules(preset: Preset, resolvers: readonly string[]): Rule[] {
  const names =
    resolvers.length === 0
      ? []
      : [rule('name-servers', 'out', 'allow', [{ kind: 'ranges', cidrs: [...resolvers] }], DNS)];
  const rest = (action: Action): Rule[] => [
    rule(`${preset}-out`, 'out', action, [{ kind: 'any' }]),
    rule(`${preset}-in`, 'in', action, [{ kind: 'any' }]),
  ];
  switch (preset) {
    case 'open':
      return rest('allow');
    case 'balanced':
      return [
        ...names,
        rule('private-ranges', 'out', 'reject', [{ kind: 'ranges', cidrs: [...PRIVATE, ...METADATA] }]),
        ...rest('allow'),
      ];
    case 'locked':
      return rest('reject');
  }
}
