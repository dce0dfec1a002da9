/** The route of `docker commit`. */
import type { Request, Router } from 'express';
import { createSchema } from '../containers/config/create-body.js';
import { body, flag, hangup, query } from '../http/request.js';
import { type CommitParts, commit } from './commit.js';

/** Adds the route. */
export function commitRoutes(router: Router, parts: CommitParts): void {
  router.post('/commit', async (request, response) => {
    const config = await body(request, createSchema);
    const text = (name: string): string => query(request, name) ?? '';
    const wanted = {
      container: text('container'),
      repository: text('repo'),
      tag: text('tag'),
      config,
      changes: changesOf(request),
      author: text('author'),
      comment: text('comment'),
      pause: query(request, 'pause') === undefined || flag(request, 'pause'),
    };
    response.status(201).json({ Id: await commit(parts, wanted, hangup(response)) });
  });
}

/** All values of `changes`. */
function changesOf(request: Request): string[] {
  const value = request.query.changes;
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.filter((one): one is string => typeof one === 'string');
}
