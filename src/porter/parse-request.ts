/** Reads what an endpoint asks of its porter. The endpoint is not believed anything. */
import { isIP } from 'node:net';
import type { PorterRequest, ServePlace } from './messages.js';

/** Names and addresses are not longer (a DNS name: RFC 1035, 2.3.4). */
const MAX_TEXT = 255;

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isPort = (value: unknown): value is number => isCount(value) && value <= 65_535;
const isText = (value: unknown): value is string => typeof value === 'string' && value.length <= MAX_TEXT;
const isAddress = (value: unknown): value is string => isText(value) && isIP(value) !== 0;

/** The request, with nothing but its own fields; null for what is none. */
export function parseRequest(raw: unknown): PorterRequest | null {
  if (typeof raw !== 'object' || raw === null) return null;
  const { kind, request, id, protocol, host, port, address, place } = raw as Record<string, unknown>;
  switch (kind) {
    case 'serve': {
      const where = parsePlace(place);
      return isCount(request) && where !== null ? { kind, request, place: where } : null;
    }
    case 'gateway':
      return isCount(request) && isText(address) ? { kind, request, address } : null;
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
