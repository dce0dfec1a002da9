/** Which requests there are: paths as Docker's router takes them, and the version that each route checks. */
import express, { type NextFunction, type Request, type RequestHandler, type Response, type Router } from 'express';
import { messageOf, notFound } from '../../../src/common/errors.js';
import { API_VERSION, atLeast, checkVersion, MIN_API_VERSION } from './api-version.js';
import { doneWith, originOf } from './connection.js';
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
  if (request.method === 'OPTIONS' && path === '*') {
    bare(response).status(200).end();
    return;
  }
  const decoded = decode(path);
  const clean = cleanPath(decoded);
  if (clean !== decoded) {
    bare(response)
      .status(301)
      .set('Location', `${originOf(request)}${encode(clean)}${query}`)
      .end();
    return;
  }
  // Docker's router knows methods as they are; Express would take them in any case.
  if (request.method !== request.method.toUpperCase()) {
    noRoute(request, response, next);
    return;
  }
  // What is written with escapes that it does not need is the same path.
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

/** Bytes that are no UTF-8 stand for nothing that has a name here. */
function decode(path: string): string {
  const bytes = path.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** As Go writes a path. */
const encode = (path: string): string =>
  encodeURI(path).replace(/[!'()*?#]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);

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
    Object.assign(router, {
      [method]: (path: string, ...own: RequestHandler[]) => add(path, ...handlers, ...own.map(finished)),
    });
  }
  return router;
}

/** A route that gives up because its client has gone may leave the answer as it is. */
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
