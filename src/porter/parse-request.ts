/** Reads what an endpoint asks of its porter. Nothing that it says is trusted. */
import { isIP } from 'node:net';
import type { GatewayNetwork, PorterRequest, ServePlace } from './messages.js';

/** No name or address is longer (a DNS name: RFC 1035, 2.3.4). */
const MAX_TEXT = 255;

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isPort = (value: unknown): value is number => isCount(value) && value <= 65_535;
const isText = (value: unknown): value is string => typeof value === 'string' && value.length <= MAX_TEXT;
const isAddress = (value: unknown): value is string => isText(value) && isIP(value) !== 0;

/** A VM has no more network cards. */
const MAX_NETWORKS = 10;

function isNetworks(value: unknown): value is GatewayNetwork[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_NETWORKS || !value.every(isNetwork))
    return false;
  return new Set(value.map((one) => one.interface)).size === value.length;
}

/** These texts become arguments of `ip`. */
function isNetwork(value: unknown): value is GatewayNetwork {
  if (typeof value !== 'object' || value === null) return false;
  const { interface: name, address } = value as Record<string, unknown>;
  if (!isText(name) || !/^eth\d$/.test(name) || !isText(address)) return false;
  const [ip = '', prefix = '', ...more] = address.split('/');
  const bits = isIP(ip) === 6 ? 128 : 32;
  return isAddress(ip) && /^\d{1,3}$/.test(prefix) && Number(prefix) <= bits && more.length === 0;
}

/** The request, with only the fields that it may have; null if it is not a valid request. */
export function parseRequest(raw: unknown): PorterRequest | null {
  if (typeof raw !== 'object' || raw === null) return null;
  const { kind, request, id, protocol, host, port, address, place, networks } = raw as Record<string, unknown>;
  switch (kind) {
    case 'serve': {
      const where = parsePlace(place);
      return isCount(request) && where !== null ? { kind, request, place: where } : null;
    }
    case 'gateway':
      return isCount(request) && isNetworks(networks)
        ? { kind, request, networks: networks.map((one) => ({ interface: one.interface, address: one.address })) }
        : null;
    case 'publish':
      return isCount(request) &&
        isCount(id) &&
        (protocol === 'tcp' || protocol === 'udp') &&
        isAddress(host) &&
        isPort(port)
        ? { kind, request, id, protocol, host, port }
        : null;
    case 'target':
      return isCount(id) && isAddress(address) && isPort(port) ? { kind, id, address, port } : null;
    case 'close':
      return isCount(id) ? { kind, id } : null;
    default:
      return null;
  }
}

function parsePlace(raw: unknown): ServePlace | null {
  if (typeof raw !== 'object' || raw === null) return null;
  const { socket, host, port } = raw as Record<string, unknown>;
  if (socket === true) return { socket };
  return isText(host) && host !== '' && isPort(port) ? { host, port } : null;
}
