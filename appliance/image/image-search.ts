/** Looks for images in registries (`docker search`). */
import { z } from 'zod';
import { CaissonError, isKind, messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { type HttpClient, readBody } from './http.js';
import { connect } from './registry-client.js';
import { isDockerHub, type RegistryEndpoint, type RegistryEndpoints } from './registry-endpoints.js';
import { statusFailure } from './registry-errors.js';
import type { RegistryAuth, SearchResult } from './types.js';

const log = logger('image');
/** Docker Hub's index, which only searches. */
const HUB_SEARCH = 'https://index.docker.io/v1/search';
const BODY_MAX = 4 * 1024 * 1024;

const hubSchema = z.object({
  results: z
    .array(
      z.object({
        name: z.string(),
        description: z.string().nullish(),
        star_count: z.number().nullish(),
        is_official: z.boolean().nullish(),
        is_automated: z.boolean().nullish(),
      }),
    )
    .nullish(),
});

/** What to look for. */
export interface Search {
  term: string;
  /** At most so many results. */
  limit: number;
  auth: RegistryAuth;
  signal: AbortSignal;
}

/**
 * A term that begins with a registry's name is looked for in that registry's catalog. Any other one is in the catalogs of Docker Hub's
 * mirrors or, if there is none or none answers, on Docker Hub.
 * @throws RegistryFailure, unavailable, cancelled
 */
export async function searchImages(
  http: HttpClient,
  endpoints: RegistryEndpoints,
  search: Search,
): Promise<SearchResult[]> {
  const [domain, path] = registryOf(search.term);
  if (!isDockerHub(domain)) {
    const found = await inCatalog(http, endpoints.of(domain), path, search.auth, search.signal);
    return found.slice(0, search.limit).map((name) => plain(`${domain}/${name}`));
  }
  let failure: unknown;
  for (const mirror of endpoints.mirrorsOf(domain)) {
    try {
      // Credentials are for Docker Hub, not for whoever mirrors it.
      const found = await inCatalog(http, [mirror], path, {}, search.signal);
      return found.slice(0, search.limit).map((name) => ({
        ...plain(name.replace(/^library\//, '')),
        official: name.startsWith('library/'),
      }));
    } catch (error) {
      if (search.signal.aborted) throw error;
      log.warn({ mirror: mirror.url, reason: messageOf(error) }, 'a mirror does not list its images');
      failure = error;
    }
  }
  try {
    // Refused if Docker Hub is not allowed.
    endpoints.of(domain);
    return await onHub(http, path, search);
  } catch (error) {
    if (isKind(error, 'forbidden')) throw failure ?? error;
    if (search.signal.aborted || failure === undefined) throw error;
    throw new CaissonError('unavailable', `${messageOf(error)}; and the mirror: ${messageOf(failure)}`, {
      cause: error,
    });
  }
}

/** As in a reference, the first part is a registry if it looks like a host. */
function registryOf(term: string): [domain: string, path: string] {
  const slash = term.indexOf('/');
  const first = slash < 0 ? '' : term.slice(0, slash);
  return /[.:]/.test(first) || first === 'localhost' ? [first, term.slice(slash + 1)] : ['docker.io', term];
}

const plain = (name: string): SearchResult => ({ name, description: '', stars: 0, official: false, automated: false });

async function inCatalog(
  http: HttpClient,
  endpoints: RegistryEndpoint[],
  part: string,
  auth: RegistryAuth,
  signal: AbortSignal,
): Promise<string[]> {
  const client = await connect(http, endpoints, null, auth, signal);
  return (await client.catalog(signal)).filter((name) => name.includes(part.toLowerCase()));
}

async function onHub(http: HttpClient, term: string, { limit, signal }: Search): Promise<SearchResult[]> {
  const url = new URL(HUB_SEARCH);
  url.searchParams.set('q', term);
  url.searchParams.set('n', String(limit));
  const response = await http.send({ method: 'GET', url, headers: {}, insecure: false, signal });
  const body = await readBody(response, BODY_MAX, signal);
  if (response.status !== 200) throw statusFailure(response.status, response.statusText, body.toString('utf8'));
  const { data } = hubSchema.safeParse(jsonOf(body));
  if (data === undefined) throw new CaissonError('unavailable', 'Docker Hub did not answer with a list of images');
  return (data.results ?? []).map((one) => ({
    name: one.name,
    description: one.description ?? '',
    stars: one.star_count ?? 0,
    official: one.is_official === true,
    automated: one.is_automated === true,
  }));
}

function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}
