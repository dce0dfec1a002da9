/** Which requests there are: paths as Docker's router takes them, and the version that each route checks. */
import express, { type NextFunction, type Request, type RequestHandler, type Response, type Router } from 'express';
import { invalid, messageOf, notFound } from '../../src/common/errors.js';
import { API_VERSION, atLeast, checkVersion, MIN_API_VERSION } from './api-version.js';
import { extrasOf } from './request.js';

const METHODS = ['get', 'head', 'post', 'put', 'delete'] as const;
const EXPERIMENTAL = 'Docker-Experimental';

/**
 * Takes the version off the path. A path that is not in its shortest form (`//`, `/./`, `/../`) is redirected there, as Docker's
 * router does it, and OPTIONS is answered without looking at the path.
 */
export function takeVersion(request: Request, response: Response, next: NextFunction): void {
  const [path = '', ...rest] = request.url.split('?');
  const query = rest.length === 0 ? '' : `?${rest.join('?')}`;
  const decoded = decode(path);
  const clean = cleanPath(decoded);
  if (clean !== decoded) {
    bare(response)
      .status(301)
      .set('Location', `${encodeURI(clean)}${query}`)
      .end();
    return;
  }
  const match = /^\/v([0-9.]+)(\/.*)$/.exec(path);
  if (match !== null) {
    extrasOf(request).apiVersion = match[1]!;
    request.url = `${match[2]!}${query}`;
  }
  if (request.method === 'OPTIONS') response.status(200).end();
  else next();
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch (error) {
    throw invalid(`invalid URL escape in "${path}"`, error);
  }
}

/** A path without empty and dot segments; a slash at its end stays. */
export function cleanPath(path: string): string {
  const result: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') result.pop();
    else if (part !== '' && part !== '.') result.push(part);
  }
  const clean = `/${result.join('/')}`;
  return path.endsWith('/') && clean !== '/' ? `${clean}/` : clean;
}

/** A router that takes paths to the letter, and whose routes look at the request's version before anything else. */
export function versionedRouter(): Router {
  const router = express.Router({ caseSensitive: true, strict: true });
  for (const method of METHODS) {
    const add = router[method].bind(router) as (path: string, ...handlers: RequestHandler[]) => Router;
    // HEAD is a method of its own: a route for GET does not answer it.
    const handlers: RequestHandler[] = method === 'get' ? [onlyGet, checked] : [checked];
    Object.assign(router, { [method]: (path: string, ...own: RequestHandler[]) => add(path, ...handlers, ...own) });
  }
  return router;
}

const onlyGet: RequestHandler = (request, _response, next) => next(request.method === 'HEAD' ? 'route' : undefined);

const checked: RequestHandler = (request, response, next) => {
  const { apiVersion } = extrasOf(request);
  try {
    if (apiVersion !== undefined) checkVersion(apiVersion);
  } catch (error) {
    response.removeHeader(EXPERIMENTAL);
    if (atLeast(apiVersion!, MIN_API_VERSION)) throw error;
    // Clients that old read no JSON.
    response
      .status(400)
      .set('X-Content-Type-Options', 'nosniff')
      .type('text/plain')
      .send(`${messageOf(error)}\n`);
    return;
  }
  next();
};

/** What no route took: known by its few headers. @throws notFound */
export const noRoute: RequestHandler = (_request, response) => {
  bare(response);
  throw notFound('page not found');
};

/** The headers of every answer of a route. */
export function setHeaders(response: Response, server: string): void {
  response.set({ 'Api-Version': API_VERSION, [EXPERIMENTAL]: 'false', Ostype: 'linux', Server: server });
}

function bare(response: Response): Response {
  for (const name of ['Api-Version', EXPERIMENTAL, 'Ostype', 'Server']) response.removeHeader(name);
  return response;
}
