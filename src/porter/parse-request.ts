/** Reads what an endpoint asks of its porter. Nothing that it says is trusted. */

import { isIP } from 'node:net';
import type { ProbePacket } from '../common/policy/probe-packet.js';
import { readGatewayPolicy } from '../common/policy/read-compiled.js';
import {
  type AddressPort,
  type GatewayCard,
  type GatewayNetwork,
  MAX_GATEWAY_CARDS,
  type PorterRequest,
  type Protocol,
  type ServePlace,
} from './messages.js';
import { isAddress, isCount, isPort, isText, record } from './parse-basics.js';
import { parseNames } from './parse-names.js';

const isProtocol = (value: unknown): value is Protocol => value === 'tcp' || value === 'udp';
/** These texts become arguments of `ip`. */
const isCard = (value: unknown): value is string =>
  isText(value) && /^eth(0|[1-9]\d{0,4})$/.test(value) && Number(value.slice(3)) < MAX_GATEWAY_CARDS;
/** The largest that a card of Linux takes. */
const isMtu = (value: unknown): value is number => isCount(value) && value <= 65_535;

/** Bytes a second: 1 Tbit/s. */
const isRate = (value: unknown): value is number => isCount(value) && value <= 125_000_000_000;

/** On one card: an IPv4 and an IPv6 address for each of its pools. */
const MAX_ADDRESSES = 16;

/** An address with its prefix length; an argument of `ip` too. */
function isPrefixed(value: unknown): value is string {
  if (!isText(value)) return false;
  const [ip = '', prefix = '', ...more] = value.split('/');
  const bits = isIP(ip) === 6 ? 128 : 32;
  return isAddress(ip) && /^\d{1,3}$/.test(prefix) && Number(prefix) <= bits && more.length === 0;
}

function parseNetworks(value: unknown): GatewayNetwork[] | null {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_GATEWAY_CARDS) return null;
  const networks: GatewayNetwork[] = [];
  for (const one of value.map(record)) {
    if (one === null || !isCard(one.interface) || !isPrefixed(one.address)) return null;
    networks.push({ interface: one.interface, address: one.address });
  }
  return new Set(networks.map((one) => one.interface)).size === networks.length ? networks : null;
}

function parseCard(fields: Record<string, unknown>): GatewayCard | null {
  const { interface: name, addresses, egress, internal, mtu, rate } = fields;
  const whole =
    isCard(name) &&
    Array.isArray(addresses) &&
    addresses.length <= MAX_ADDRESSES &&
    addresses.every(isPrefixed) &&
    typeof egress === 'boolean' &&
    typeof internal === 'boolean' &&
    isMtu(mtu) &&
    isRate(rate);
  return whole ? { interface: name, addresses: [...addresses], egress, internal, mtu, rate } : null;
}

function parseAddressPort(raw: unknown): AddressPort | null {
  const { address, port } = record(raw) ?? {};
  return isAddress(address) && isPort(port) ? { address, port } : null;
}

function parsePlace(raw: unknown): ServePlace | null {
  const { socket, host, port } = record(raw) ?? {};
  if (socket === true) return { socket };
  return isText(host) && host !== '' && isPort(port) ? { host, port } : null;
}

function parsePolicy(request: number, policy: unknown): PorterRequest | null {
  try {
    return { kind: 'policy', request, policy: policy === null ? null : readGatewayPolicy(policy) };
  } catch {
    return null;
  }
}

function parsePacket(raw: unknown): ProbePacket | null {
  const { protocol, from, to, sourcePort, port } = record(raw) ?? {};
  if (protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'icmp') return null;
  return isAddress(from) && isAddress(to) && isPort(sourcePort) && isPort(port)
    ? { protocol, from, to, sourcePort, port }
    : null;
}

/** The number under which whoever sent this waits for an answer, even to what is not a valid request; null: nobody waits. */
export function requestNumber(raw: unknown): number | null {
  const request = record(raw)?.request;
  return isCount(request) ? request : null;
}

/** The request, with only the fields that it may have; null if it is not a valid request. */
export function parseRequest(raw: unknown): PorterRequest | null {
  const fields = record(raw);
  if (fields === null) return null;
  const { kind, request, id, protocol, host, port, address } = fields;
  switch (kind) {
    case 'serve': {
      const place = parsePlace(fields.place);
      return isCount(request) && place !== null ? { kind, request, place } : null;
    }
    case 'gateway': {
      const networks = parseNetworks(fields.networks);
      return isCount(request) && networks !== null ? { kind, request, networks } : null;
    }
    case 'network': {
      const card = parseCard(fields);
      return isCount(request) && card !== null ? { kind, request, ...card } : null;
    }
    case 'network-gone':
      return isCount(request) && isCard(fields.interface) ? { kind, request, interface: fields.interface } : null;
    case 'publish':
      return isCount(request) && isCount(id) && isProtocol(protocol) && isAddress(host) && isPort(port)
        ? { kind, request, id, protocol, host, port }
        : null;
    case 'target':
      return isCount(id) && isAddress(address) && isPort(port) ? { kind, id, address, port } : null;
    case 'forward': {
      const [inner, outer] = [parseAddressPort(fields.inner), parseAddressPort(fields.outer)];
      if (!isCount(request) || !isCount(id) || !isProtocol(protocol) || inner === null || outer === null) return null;
      return outer.port === 0 ? null : { kind, request, id, protocol, inner, outer };
    }
    case 'close':
      return isCount(id) ? { kind, id } : null;
    case 'names': {
      const change = parseNames(fields.change);
      return isCount(request) && change !== null ? { kind, request, change } : null;
    }
    case 'reported':
      return isCount(id) ? { kind, id } : null;
    case 'rate':
      return isAddress(address) && isRate(fields.rate) ? { kind, address, rate: fields.rate } : null;
    case 'forget':
      return isAddress(address) ? { kind, address } : null;
    case 'counters':
    case 'policy-counts':
      return isCount(request) ? { kind, request } : null;
    case 'policy':
      return isCount(request) ? parsePolicy(request, fields.policy) : null;
    case 'policy-trace': {
      if (!isCount(request)) return null;
      if (fields.packet === null) return { kind, request, packet: null };
      const packet = parsePacket(fields.packet);
      return packet === null ? null : { kind, request, packet };
    }
    default:
      return null;
  }
}
