/**
 * How far the networks of a VM's cards are trusted. The level is in the configuration of the VM's virtual container host, which only an
 * administrator changes; which ports a container publishes there is in a key of the VM, which its virtual container host sets.
 */

import { Address4, Address6 } from 'ip-address';
import { z } from 'zod';
import type { CardTrust } from '../switch/trust-rules.js';

/** `MAC=80/tcp,8000-8010/udp;MAC=`, one per card on a container network. */
export const TRUST_KEY = 'caisson.trust';
/** Of an endpoint VM. */
export const CONFIG_KEY = 'guestinfo.caisson.vch';
/** The ranges of ports of one card. */
const MAX_PORTS = 4096;

/** A container network as an endpoint's configuration has it, apart from what concerns only the endpoint. */
const networks = z.object({
  containerNetworks: z
    .array(
      z.object({
        portGroup: z.string(),
        trust: z.enum(['closed', 'outbound', 'peers', 'published', 'open']),
        gateway: z.string().optional(),
        ipRanges: z.array(z.string()).default([]),
      }),
    )
    .default([]),
});

/** What concerns all cards on a network. */
export type TrustedNetwork = Omit<CardTrust, 'ports'>;

/** By the text that was read last: it is needed for every start, and changes hardly ever. */
const read = new Map<string, ReadonlyMap<string, TrustedNetwork>>();
const MOST_READ = 64;

/** The container networks of an endpoint's configuration, by port group; none if it cannot be read. */
export function trustedNetworks(endpoint: ReadonlyMap<string, string>): ReadonlyMap<string, TrustedNetwork> {
  const text = endpoint.get(CONFIG_KEY) ?? '{}';
  const known = read.get(text);
  if (known !== undefined) return known;
  const found = parse(text);
  if (read.size >= MOST_READ) read.clear();
  read.set(text, found);
  return found;
}

function parse(text: string): Map<string, TrustedNetwork> {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return new Map();
  }
  const { data } = networks.safeParse(raw);
  return new Map(
    (data?.containerNetworks ?? []).map(({ portGroup, trust, gateway, ipRanges }) => [
      portGroup,
      { level: trust, peers: peersOf(gateway, ipRanges), dynamic: gateway === undefined },
    ]),
  );
}

/** The addresses of its containers, or those of the whole subnet. */
function peersOf(gateway: string | undefined, ipRanges: string[]): string[] {
  const all = ipRanges.length > 0 || gateway === undefined ? ipRanges : [subnetOf(gateway)];
  return all.filter((one) => /^[0-9a-f.:]+(?:[-/][0-9a-f.:]+)?$/i.test(one));
}

function subnetOf(gateway: string): string {
  const address = Address4.isValid(gateway) ? new Address4(gateway) : new Address6(gateway);
  return `${address.startAddress().correctForm()}/${address.subnetMask}`;
}

/** The ports that each card lets in, by MAC address in lower case. Whatever else the text says is left out. */
export function trustedPortsOf(extraConfig: ReadonlyMap<string, string>): Map<string, CardTrust['ports']> {
  const found = new Map<string, CardTrust['ports']>();
  for (const entry of (extraConfig.get(TRUST_KEY) ?? '').split(';')) {
    const [mac = '', list = ''] = entry.split('=');
    const ports = list.split(',').slice(0, MAX_PORTS).flatMap(portOf);
    if (mac !== '') found.set(mac.toLowerCase(), ports);
  }
  return found;
}

function portOf(text: string): CardTrust['ports'][number][] {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?\/(tcp|udp)$/.exec(text);
  if (match === null) return [];
  const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])];
  if (first < 1 || last > 65_535 || first > last) return [];
  return [{ protocol: match[3] as 'tcp' | 'udp', first, last }];
}
