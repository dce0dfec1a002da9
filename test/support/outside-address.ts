/** A public address that leads to this machine: this machine's own addresses do not count as public. */
import { execFileSync } from 'node:child_process';

export interface OutsideAddress {
  /** An IPv4 documentation address, assigned to nobody (RFC 5737). */
  address: string;
  /** Removes it. */
  remove(): void;
}

/** Redirects packets for a documentation address, at any port, to loopback. */
export function outsideAddress(): OutsideAddress {
  const address = `203.0.113.${1 + (process.pid % 250)}`;
  const table = `caisson-outside-${process.pid}`;
  const route = (action: 'replace' | 'delete'): unknown =>
    execFileSync('ip', ['route', action, `${address}/32`, 'dev', 'lo']);
  route('replace');
  execFileSync('nft', ['-f', '-'], {
    input: `table ip ${table} {
      chain leads-to-loopback {
        type nat hook output priority -100; policy accept;
        ip daddr ${address} dnat to 127.0.0.1
      }
    }`,
  });
  return {
    address,
    remove: () => {
      execFileSync('nft', ['delete', 'table', 'ip', table]);
      route('delete');
    },
  };
}
