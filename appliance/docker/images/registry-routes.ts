/** Routes that only ask a registry: `docker search`, and what it has under a name. */
import type { Request, Router } from 'express';
import { invalid } from '../../../src/common/errors.js';
import type { ImageService, SearchResult } from '../../image/index.js';
import { imageName } from '../http/image-name.js';
import { registryAuth } from '../http/registry-auth.js';
import { filters, hangup, integer, query } from '../http/request.js';

const DEFAULT_LIMIT = 25;
const MAX_LIMIT = 100;
const FILTERS = ['is-automated', 'is-official', 'stars'];

type Registry = Pick<ImageService, 'search' | 'distribution'>;

/** Adds the routes. */
export function registryRoutes(router: Router, images: Registry): void {
  router.get('/images/search', async (request, response) => {
    const wanted = searchFilter(request);
    const limit = limitOf(request);
    const found = await images.search(query(request, 'term') ?? '', {
      limit,
      auth: registryAuth(request) ?? {},
      signal: hangup(response),
    });
    response.json(
      found.filter(wanted).map(({ name, description, stars, official, automated }) => ({
        star_count: stars,
        is_official: official,
        name,
        is_automated: automated,
        description,
      })),
    );
  });

  router.get('/distribution/*name/json', async (request, response) => {
    const { mediaType, digest, size, platforms } = await images.distribution(imageName(request), {
      auth: registryAuth(request) ?? {},
      signal: hangup(response),
    });
    response.json({
      Descriptor: { mediaType, digest, size },
      Platforms: platforms.map(({ os, architecture, variant }) => ({
        architecture,
        os,
        ...(variant === '' ? {} : { variant }),
      })),
    });
  });
}

/** @throws invalid in Docker's words */
function limitOf(request: Request): number {
  let limit: number;
  try {
    limit = integer(request, 'limit') ?? 0;
  } catch (error) {
    throw invalid(`invalid limit specified: ${(error as Error).message}`, error);
  }
  if (limit < 0 || limit > MAX_LIMIT) throw invalid(`limit ${limit} is outside the range of [1, ${MAX_LIMIT}]`);
  return limit === 0 ? DEFAULT_LIMIT : limit;
}

/** What the filters let through. @throws invalid in Docker's words */
function searchFilter(request: Request): (result: SearchResult) => boolean {
  const given = filters(request);
  for (const name of given.keys()) if (!FILTERS.includes(name)) throw invalid(`invalid filter '${name}'`);
  const truth = (name: string): boolean | undefined => {
    const values = given.get(name) ?? [];
    if (values.length === 0) return undefined;
    const yes = values.every((value) => ['1', 'true'].includes(value));
    const no = values.every((value) => ['0', 'false'].includes(value));
    if (!yes && !no) throw invalid(`invalid filter '${name}=[${values.join(' ')}]'`);
    return yes;
  };
  const [official, automated] = [truth('is-official'), truth('is-automated')];
  const stars = (given.get('stars') ?? []).map((value) => {
    if (!/^[+-]?\d+$/.test(value))
      throw invalid(`invalid filter 'stars=${value}': strconv.Atoi: parsing ${JSON.stringify(value)}: invalid syntax`);
    return Number(value);
  });
  return (result) =>
    (official === undefined || result.official === official) &&
    (automated === undefined || result.automated === automated) &&
    stars.every((least) => result.stars >= least);
}
