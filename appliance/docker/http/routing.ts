/** Reads paths the way Docker's router does and checks the API version of each request that a route takes. */
import express, { type NextFunction, type Request, type RequestHandler, type Response, type Router } from 'express';
import { messageOf, notFound } from '../../../src/common/errors.js';
import { atLeast, checkVersion, MIN_API_VERSION } from './api-version.js';
import { doneWith, originOf } from './connection.js';
import { EXPERIMENTAL, removeEngineHeaders } from './engine-headers.js';
import { extrasOf } from './request.js';

const METHODS = ['get', 'head', 'post', 'put', 'delete'] as const;

/**
 * Takes the version off the path. Like Docker's router, it redirects a path with `//`, `/./` or `/../` in it to its clean form, and
 * answers OPTIONS whatever the path is.
 */
export function takeVersion(request: Request, response: Response, next: NextFunction): void {
  const [path = '', ...rest] = request.url.split('?');
  const query = rest.length === 0 ? '' : `?${rest.join('?')}`;
  if (request.method === 'OPTIONS' && path === '*') {
    removeEngineHeaders(response).status(200).end();
    return;
  }
  const decoded = decode(path);
  const clean = cleanPath(decoded);
  if (clean !== decoded) {
    removeEngineHeaders(response)
      .status(301)
      .set('Location', `${originOf(request)}${encode(clean)}${query}`)
      .end();
    return;
  }
  // Docker's router compares methods exactly; Express would ignore their case.
  if (request.method !== request.method.toUpperCase()) {
    noRoute(request, response, next);
    return;
  }
  // A path with escapes that it does not need is the same path.
  const plain = path
    .split('/')
    .map((part) => encodeURIComponent(decode(part)))
    .join('/');
  const match = /^\/v([0-9.]+)(\/.*)$/.exec(plain);
  if (match !== null) extrasOf(request).apiVersion = match[1]!;
  request.url = `${match === null ? plain : match[2]!}${query}`;
  if (request.method === 'OPTIONS') response.status(200).end();
  else next();
}

/** Decodes the escapes of a path. Bytes that are not UTF-8 become replacement characters: nothing here has such a name. */
function decode(path: string): string {
  const bytes = path.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** Escapes a path the way Go does. */
const encode = (path: string): string =>
  encodeURI(path).replace(/[!'()*?#]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);

/** The path without empty and dot segments; a trailing slash stays. */
export function cleanPath(path: string): string {
  const result: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') result.pop();
    else if (part !== '' && part !== '.') result.push(part);
  }
  const clean = `/${result.join('/')}`;
  return path.endsWith('/') && clean !== '/' ? `${clean}/` : clean;
}

/** A router that matches paths exactly and whose routes check the request's API version before anything else. */
export function versionedRouter(): Router {
  const router = express.Router({ caseSensitive: true, strict: true });
  for (const method of METHODS) {
    const add = router[method].bind(router) as (path: string, ...handlers: RequestHandler[]) => Router;
    // In Docker's router a route for GET does not answer HEAD.
    const handlers: RequestHandler[] = method === 'get' ? [onlyGet, checked] : [checked];
    Object.assign(router, {
      [method]: (path: string, ...own: RequestHandler[]) => add(path, ...handlers, ...own.map(finished)),
    });
  }
  return router;
}

/** A route whose client has gone may return without finishing its answer; the connection is closed for it. */
function finished(route: RequestHandler): RequestHandler {
  return async (request, response, next) => {
    await route(request, response, next);
    doneWith(request);
  };
}

const onlyGet: RequestHandler = (request, _response, next) => next(request.method === 'HEAD' ? 'route' : undefined);

const checked: RequestHandler = (request, response, next) => {
  const { apiVersion } = extrasOf(request);
  try {
    if (apiVersion !== undefined) checkVersion(apiVersion);
  } catch (error) {
    response.removeHeader(EXPERIMENTAL);
    if (atLeast(apiVersion!, MIN_API_VERSION)) throw error;
    // Clients that old cannot read JSON errors.
    response
      .status(400)
      .set('X-Content-Type-Options', 'nosniff')
      .type('text/plain')
      .send(`${messageOf(error)}\n`);
    return;
  }
  next();
};

/** Answers what no route took, without the engine's headers, as Docker does. @throws notFound */
export const noRoute: RequestHandler = (_request, response) => {
  removeEngineHeaders(response);
  throw notFound('page not found');
};
