/** What can go wrong between us and a registry, in Docker's words (which are Go's for network errors). */
import {
  CaissonError,
  cancelled,
  type ErrorKind,
  errnoOf,
  isKind,
  messageOf,
  unauthorized,
} from '../../src/common/errors.js';
import { familiarName, familiarString, type Reference } from './reference.js';

/** A failed exchange with a registry. */
export class RegistryFailure extends CaissonError {
  constructor(
    kind: ErrorKind,
    message: string,
    readonly details: {
      /** Worth another try: a network error, or an overloaded or broken server. */
      retriable: boolean;
      /** The registry was not reached: there was no HTTP answer. */
      unreachable?: boolean;
      /** Error code of distribution-spec "Error Codes", e.g. `MANIFEST_UNKNOWN`. */
      code?: string;
      /** HTTP status, when there was an answer. */
      status?: number;
      /** Milliseconds the server asked to wait. */
      retryAfterMs?: number;
      cause?: unknown;
    },
  ) {
    super(kind, message, { cause: details.cause });
  }
}

/** True when trying again may help. */
export function isRetriable(error: unknown): boolean {
  return error instanceof RegistryFailure && error.details.retriable;
}

const TLS_UNTRUSTED = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
]);

/**
 * The failure for an exception thrown by the HTTP client.
 * @param method as in the request line; the message begins with it as Go's do (`Get "https://…": …`)
 */
export function transportFailure(method: string, url: URL, error: unknown, signal?: AbortSignal): CaissonError {
  if (error instanceof CaissonError) return error;
  if (signal?.aborted) return cancelled('context canceled', error);
  const first = error instanceof AggregateError && error.errors.length > 0 ? error.errors[0] : error;
  const verb = method.charAt(0) + method.slice(1).toLowerCase();
  const [reason, kind] = transportReason(url, first);
  return new RegistryFailure(kind, `${verb} "${url.href}": ${reason}`, {
    retriable: true,
    unreachable: true,
    cause: error,
  });
}

function transportReason(url: URL, error: unknown): [string, ErrorKind] {
  const code = errnoOf(error) ?? '';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  const details = error as { address?: unknown; port?: unknown; message?: unknown };
  const address = typeof details.address === 'string' ? details.address : host;
  const dial = `dial tcp ${address.includes(':') ? `[${address}]` : address}:${port}`;
  switch (code) {
    case 'ECONNREFUSED':
      return [`${dial}: connect: connection refused`, 'unavailable'];
    case 'EHOSTUNREACH':
      return [`${dial}: connect: no route to host`, 'unavailable'];
    case 'ENETUNREACH':
      return [`${dial}: connect: network is unreachable`, 'unavailable'];
    case 'ETIMEDOUT':
    case 'UND_ERR_CONNECT_TIMEOUT':
      return [`${dial}: i/o timeout`, 'timeout'];
    case 'UND_ERR_HEADERS_TIMEOUT':
      return ['net/http: timeout awaiting response headers', 'timeout'];
    case 'UND_ERR_BODY_TIMEOUT':
      return ['net/http: request canceled (Client.Timeout or context cancellation while reading body)', 'timeout'];
    case 'ENOTFOUND':
      return [`dial tcp: lookup ${host}: no such host`, 'unavailable'];
    case 'EAI_AGAIN':
      return [`dial tcp: lookup ${host}: Temporary failure in name resolution`, 'unavailable'];
    case 'ECONNRESET':
    case 'EPIPE':
    case 'UND_ERR_SOCKET':
    case 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH':
      return ['EOF', 'unavailable'];
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
      return ['http: server gave HTTP response to HTTPS client', 'unavailable'];
    case 'CERT_HAS_EXPIRED':
      return ['tls: failed to verify certificate: x509: certificate has expired or is not yet valid', 'unavailable'];
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return [`tls: failed to verify certificate: x509: certificate is not valid for ${host}`, 'unavailable'];
    default:
      if (TLS_UNTRUSTED.has(code)) {
        return ['tls: failed to verify certificate: x509: certificate signed by unknown authority', 'unavailable'];
      }
      return [String(details.message ?? error), 'unavailable'];
  }
}

/** Messages for errors that came without a body (a HEAD, a proxy): distribution-spec codes and their usual text. */
const BY_STATUS: Readonly<Record<number, [code: string, message: string]>> = {
  401: ['UNAUTHORIZED', 'authentication required'],
  403: ['DENIED', 'requested access to the resource is denied'],
  404: ['MANIFEST_UNKNOWN', 'manifest unknown'],
  429: ['TOOMANYREQUESTS', 'You have reached your pull rate limit'],
};

const RETRY_AFTER_MAX_MS = 60_000;

/** Longest part of a registry's own message that is passed on. */
const MESSAGE_MAX = 1000;

/**
 * The failure for an HTTP status other than success.
 * @param body the response's body, as far as it was read
 */
export function statusFailure(
  status: number,
  statusText: string,
  body: string,
  retryAfter?: string | undefined,
): RegistryFailure {
  const known = errorOfBody(body, status) ?? BY_STATUS[status];
  const retriable = status >= 500 || status === 429 || status === 408;
  const retryAfterMs = waitOf(retryAfter);
  if (!known) {
    return new RegistryFailure('unavailable', `received unexpected HTTP status: ${status} ${statusText}`.trim(), {
      retriable,
      status,
      retryAfterMs,
    });
  }
  const [code, message] = known;
  const words = code.toLowerCase().replaceAll('_', ' ');
  return new RegistryFailure(kindOfStatus(status), `${words}: ${message.slice(0, MESSAGE_MAX)}`, {
    retriable,
    code,
    status,
    retryAfterMs,
  });
}

/** Milliseconds of a `Retry-After` header, which has seconds or a date (RFC 9110 section 10.2.3), and at most a minute. */
function waitOf(retryAfter: string | undefined): number | undefined {
  if (retryAfter === undefined) return undefined;
  const wait = /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : Date.parse(retryAfter) - Date.now();
  return wait > 0 ? Math.min(wait, RETRY_AFTER_MAX_MS) : undefined;
}

function kindOfStatus(status: number): ErrorKind {
  if (status === 401) return 'unauthorized';
  if (status === 403) return 'forbidden';
  if (status === 404) return 'notFound';
  return 'unavailable';
}

/** The first error of a distribution-spec error body, or what a token server has to say. */
function errorOfBody(body: string, status: number): [code: string, message: string] | undefined {
  try {
    const parsed = JSON.parse(body) as { errors?: { code?: unknown; message?: unknown }[]; details?: unknown } | null;
    const first = parsed?.errors?.[0];
    const byStatus = BY_STATUS[status]?.[0];
    if (typeof parsed?.details === 'string' && parsed.details !== '' && byStatus !== undefined)
      return [byStatus, parsed.details];
    if (typeof first?.code !== 'string') return undefined;
    return [first.code, typeof first.message === 'string' ? first.message : ''];
  } catch {
    return undefined;
  }
}

/** Words the failure of a push for Docker's users: unlike that of a pull, it does not say which request lacked credentials. */
export function pushFailure(error: unknown): unknown {
  const words = 'no basic auth credentials';
  return isKind(error, 'unauthorized') && messageOf(error).endsWith(`: ${words}`) ? unauthorized(words, error) : error;
}

/** Words the failure of a pull for Docker's users (moby `distribution/errors.go`): says what was not found. */
export function pullFailure(error: unknown, reference: Reference): unknown {
  if (!(error instanceof RegistryFailure)) return error;
  const because = error.message;
  switch (error.details.code) {
    case 'DENIED':
      return new CaissonError(
        'notFound',
        `pull access denied for ${familiarName(reference)}, repository does not exist or may require 'docker login': ${because}`,
        { cause: error },
      );
    case 'MANIFEST_UNKNOWN':
      return new CaissonError('notFound', `manifest for ${familiarString(reference)} not found: ${because}`, {
        cause: error,
      });
    case 'NAME_UNKNOWN':
      return new CaissonError('notFound', `repository ${familiarName(reference)} not found: ${because}`, {
        cause: error,
      });
    default:
      return error;
  }
}
