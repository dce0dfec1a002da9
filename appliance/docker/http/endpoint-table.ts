/** Adds routes from a table of endpoints that are all answered alike. */
import type { RequestHandler, Router } from 'express';

type Method = 'get' | 'head' | 'post' | 'put' | 'delete';

/** Adds a route for each endpoint. @param table a `METHOD path` each, separated by semicolons or newlines @param handler makes the handler of a `METHOD path` */
export function routes(router: Router, table: string, handler: (endpoint: string) => RequestHandler): void {
  for (const line of table.split(/[;\n]/)) {
    const endpoint = line.trim();
    const [method = '', path = ''] = endpoint.split(' ');
    if (path !== '') router[method.toLowerCase() as Method](path, handler(endpoint));
  }
}
