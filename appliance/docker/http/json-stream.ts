/** Answers with several JSON values: JSON lines, or a JSON text sequence (RFC 7464), whichever the client prefers. */
import type { IncomingMessage } from 'node:http';
import { API_VERSION, atLeast } from './api-version.js';

export const JSON_LINES = 'application/jsonl';
const NDJSON = 'application/x-ndjson';
const SEQUENCE = 'application/json-seq';
/** What a client can ask for; of two that it likes equally, it gets the first. */
const OFFERED = [JSON_LINES, NDJSON, SEQUENCE];
/** More ranges than this in a header are ignored. */
const MAX_RANGES = 100;

/**
 * The content type of a stream of values: one that `Accept` names (a wildcard names none), otherwise JSON lines, which were called JSON
 * before API 1.52.
 */
export function streamType(request: Pick<IncomingMessage, 'headers'>, version = API_VERSION): string {
  const named = accepted(request.headers.accept ?? '');
  let best = '';
  for (const type of OFFERED) if ((named.get(type) ?? 0) > (named.get(best) ?? 0)) best = type;
  if (best !== '') return best;
  return atLeast(version, '1.52') ? JSON_LINES : 'application/json';
}

/** The types that a header names, with how much the client likes each, from 0 to 1. */
function accepted(header: string): Map<string, number> {
  const result = new Map<string, number>();
  for (const range of header.split(',', MAX_RANGES)) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    const quality = parameters.find((one) => one.startsWith('q='));
    const liked = quality === undefined ? 1 : Number(quality.slice(2));
    if (type !== '' && liked >= 0 && liked <= 1) result.set(type, Math.max(liked, result.get(type) ?? 0));
  }
  return result;
}

/** One value of a stream of that type. */
export function streamed(value: unknown, type: string): string {
  return `${type === SEQUENCE ? '\x1e' : ''}${JSON.stringify(value)}\n`;
}
