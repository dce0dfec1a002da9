/** What the relay says, a line at a time: see `src/relay/lines.c`. */
import type { Counter } from './messages.js';

export type RelayLine =
  | { kind: 'ready'; port: number; logged: boolean }
  | { kind: 'ok'; request: number; port: number }
  | { kind: 'err'; request: number; error: Error & { code: string; address: string; port: number } }
  | { kind: 'count'; request: number; counter: Counter }
  | { kind: 'note'; text: string };

/** As Node words the errors of the system, and a few more that it has no words for. */
function systemError(
  code: string,
  address: string,
  port: number,
): Error & { code: string; address: string; port: number } {
  const why: Record<string, string> = {
    EADDRINUSE: 'address already in use',
    EADDRNOTAVAIL: 'address not available',
    EACCES: 'permission denied',
    EAFNOSUPPORT: 'address family not supported',
  };
  const message = `listen ${code}: ${why[code] ?? 'the relay cannot listen'} ${address}:${port}`;
  return Object.assign(new Error(message), { code, address, port });
}

/** @returns null for a line that means nothing */
export function parseRelayLine(line: string): RelayLine | null {
  const [kind, ...words] = line.split(' ');
  const number = (at: number): number => Number(words[at]);
  switch (kind) {
    case 'ready':
      return { kind, port: number(0), logged: words[1] === '1' };
    case 'ok':
      return { kind, request: number(0), port: number(1) };
    case 'err':
      return { kind, request: number(0), error: systemError(words[1] ?? 'EIO', words[2] ?? '', number(3)) };
    case 'count': {
      const counter = { address: words[1] ?? '', bytesIn: number(2), bytesOut: number(3), flows: number(4) };
      return { kind, request: number(0), counter };
    }
    case 'note':
      return { kind, text: words.join(' ') };
    default:
      return null;
  }
}
