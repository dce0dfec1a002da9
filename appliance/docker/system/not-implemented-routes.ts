/** The endpoints of the Engine API that are not implemented yet. Each answers 501, so that none is missing and none pretends to work. */
import type { Router } from 'express';
import { unsupported } from '../../../src/common/errors.js';
import { routes } from '../http/endpoint-table.js';

const ENDPOINTS = `
POST /build; POST /build/cancel; POST /session; POST /grpc
GET /plugins/privileges; POST /plugins/pull; POST /plugins/create; DELETE /plugins/*name; POST /plugins/*name/enable; POST /plugins/*name/disable; POST /plugins/*name/upgrade; POST /plugins/*name/push; POST /plugins/*name/set
`;

/** Adds a route that refuses for each of them. */
export function notImplementedRoutes(router: Router): void {
  routes(router, ENDPOINTS, (endpoint) => () => {
    throw unsupported(`${endpoint.replace(/[:*](\w+)/g, '{$1}')} is not implemented`);
  });
}
