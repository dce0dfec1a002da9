/** Endpoints written as a table, for routes that are all answered alike. */
import type { RequestHandler, Router } from 'express';

type Method = 'get' | 'head' | 'post' | 'put' | 'delete';

/** Adds a route for each endpoint. @param table `METHOD path` each, apart by semicolons or lines @param handler of one `METHOD path` */
export function routes(router: Router, table: string, handler: (endpoint: string) => RequestHandler): void {
  for (const line of table.split(/[;\n]/)) {
    const endpoint = line.trim();
    const [method = '', path = ''] = endpoint.split(' ');
    if (path !== '') router[method.toLowerCase() as Method](path, handler(endpoint));
  }
}
