/**
 * Keeps web pages away from the API. A page may send requests to any address that the browser reaches: without asking, to a form's
 * measure (CSRF), by WebSocket, and in full where its own host name comes to resolve to this machine (DNS rebinding). Browsers say of
 * each request where it comes from (Fetch Standard, `Origin`; Fetch Metadata, `Sec-Fetch-Site`), and a page's requests bear its own
 * host name. Docker's clients say nothing of the first two, and name the host that they were told to connect to.
 */
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import type { NextFunction, Request, Response } from 'express';
import { forbidden } from '../../../src/common/errors.js';
import { isOnUnixSocket, originOf } from './connection.js';

const plain = (name: string): string => name.toLowerCase().replace(/\.$/, '');

/** `host` of a `Host` header without its port, in lower case; undefined: it is no host and port at all. */
function nameOf(host: string): string | undefined {
  const [, bracketed, bare] = /^(?:\[([^\]]*)\]|([^:@]+))(?::\d*)?$/.exec(host) ?? [];
  // Browsers write addresses of IPv6 in brackets, some old clients do not.
  const name = bracketed ?? bare ?? (isIP(host) === 6 ? host : undefined);
  return name === undefined ? undefined : plain(name);
}

/**
 * A name that no page of a stranger can have: an address, a name of this machine, or one without a domain (`docker`, as CI services are
 * called), which nobody can register.
 */
function isKnown(host: string): boolean {
  const name = nameOf(host);
  if (name === undefined) return false;
  if (isIP(name) !== 0 || !name.includes('.') || name.endsWith('.localhost')) return true;
  // All of it: anybody may have `<name of this machine>.example.com`.
  return name === plain(hostname());
}

/**
 * Refuses what a web page sends, with 403. A unix socket is out of a browser's reach; with TLS, the certificate says whose name it is.
 */
export function browserGuard(request: Request, _response: Response, next: NextFunction): void {
  const { socket, headers } = request;
  // As it was accepted, and not by what the socket says: of one whose client has gone no address is known.
  if (isOnUnixSocket(request)) {
    next();
    return;
  }
  const { host = '', origin } = headers;
  const site = headers['sec-fetch-site'];
  const encrypted = 'encrypted' in socket;
  // A target that names a host stands for `Host` (RFC 9112, 3.2.2).
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

/** Clients of WebSockets that are no browsers say the address that they connect to. */
function isSame(origin: string, host: string): boolean {
  return /^(?:https?|wss?):\/\/(.*)$/.exec(origin.toLowerCase())?.[1] === host.toLowerCase();
}
