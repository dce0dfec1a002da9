/**
 * Keeps web pages away from the API. A page can make its browser send requests to any address that the browser reaches: simple ones as a
 * form does (CSRF), WebSockets, and all kinds once the page's own host name resolves to this machine (DNS rebinding). Browsers say with
 * each request where it comes from (`Origin`, `Sec-Fetch-Site`), and name the page's host in `Host`. Docker's clients send neither of the
 * first two, and name the host that they were told to connect to.
 */
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import type { NextFunction, Request, Response } from 'express';
import { forbidden } from '../../../src/common/errors.js';
import { isOnUnixSocket, originOf } from './connection.js';

const plain = (name: string): string => name.toLowerCase().replace(/\.$/, '');

/** The host of a `Host` header, without its port and in lower case; undefined for anything that is not a host and port. */
function nameOf(host: string): string | undefined {
  const [, bracketed, bare] = /^(?:\[([^\]]*)\]|([^:@]+))(?::\d*)?$/.exec(host) ?? [];
  // Browsers put IPv6 addresses in brackets; some old clients do not.
  const name = bracketed ?? bare ?? (isIP(host) === 6 ? host : undefined);
  return name === undefined ? undefined : plain(name);
}

/**
 * Whether no stranger's page can have this host name: it is an address, this machine's name, or a name without a domain, which nobody can
 * register (`docker`, as CI services are called).
 */
function isKnown(host: string): boolean {
  const name = nameOf(host);
  if (name === undefined) return false;
  if (isIP(name) !== 0 || !name.includes('.') || name.endsWith('.localhost')) return true;
  // The whole name must match: anybody may own `<name of this machine>.example.com`.
  return name === plain(hostname());
}

/** Refuses what a web page sends, with 403. Browsers cannot reach a unix socket; with TLS the certificate vouches for the host name. */
export function browserGuard(request: Request, _response: Response, next: NextFunction): void {
  const { socket, headers } = request;
  // Remembered from when it was accepted: a socket whose client has gone no longer knows an address.
  if (isOnUnixSocket(request)) {
    next();
    return;
  }
  const { host = '', origin } = headers;
  const site = headers['sec-fetch-site'];
  const encrypted = 'encrypted' in socket;
  // A target that names a host overrides `Host` (RFC 9112, 3.2.2).
  const named = [host, originOf(request).replace(/^.*\/\//, '')].filter((name) => name !== '');
  const stranger = encrypted ? undefined : named.find((name) => !isKnown(name));
  if (stranger !== undefined)
    throw forbidden(
      `the host name ${JSON.stringify(stranger.slice(0, 100))} is not this machine's: use its address, or TLS (web pages may make up names to get here)`,
    );
  if (origin !== undefined && !isSame(origin, host))
    throw forbidden(
      `web pages have no access to the Docker API: this request says that it comes from ${JSON.stringify(origin.slice(0, 100))}`,
    );
  if (site !== undefined && site !== 'same-origin' && site !== 'none')
    throw forbidden('web pages have no access to the Docker API: this request says that another site has sent it');
  next();
}

/** WebSocket clients other than browsers send the address that they connect to as their origin. */
function isSame(origin: string, host: string): boolean {
  return /^(?:https?|wss?):\/\/(.*)$/.exec(origin.toLowerCase())?.[1] === host.toLowerCase();
}
