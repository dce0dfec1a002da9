/** The image that a request's path names. */
import type { Request } from 'express';

/** Names contain slashes, so a route's wildcard takes all of the path between the ends. */
export function imageName(request: Request): string {
  const name: unknown = request.params.name;
  return Array.isArray(name) ? name.join('/') : String(name);
}
