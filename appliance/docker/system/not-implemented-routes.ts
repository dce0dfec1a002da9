/** Every endpoint of the Engine API that is not done yet: each answers 501, none is missing, none pretends. */
import type { Router } from 'express';
import { unsupported } from '../../../src/common/errors.js';
import { routes } from '../http/endpoint-table.js';

const ENDPOINTS = `
POST /build; POST /build/cancel; POST /session; POST /grpc
GET /images/search; GET /images/get; POST /images/load; GET /images/*name/get; POST /images/*name/push; GET /distribution/*name/json
POST /networks/create; DELETE /networks/:id
GET /plugins/privileges; POST /plugins/pull; POST /plugins/create; DELETE /plugins/*name; POST /plugins/*name/enable; POST /plugins/*name/disable; POST /plugins/*name/upgrade; POST /plugins/*name/push; POST /plugins/*name/set
`;

/** Adds a refusing route for each. */
export function notImplementedRoutes(router: Router): void {
  routes(router, ENDPOINTS, (endpoint) => () => {
    throw unsupported(`${endpoint.replace(/[:*](\w+)/g, '{$1}')} is not implemented`);
  });
}
