/** Policies on a host that enforces none. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import express, { type ErrorRequestHandler } from 'express';
import { expect, it } from 'vitest';
import { policyRoutes } from '../../../appliance/docker/policy/policy-routes.js';

it.each([
  ['a vCenter', false, 'rules: []\n', 'policies need the embedded host'],
  ['a vCenter, where there is nothing to enforce', false, '', ''],
  ['a vCenter, where a mistake is told first', false, 'rules: 5\n', 'rules'],
  ['the embedded host', true, 'rules: []\n', ''],
])("an administrator's tier is checked before it is kept: on %s", async (_, ownHost, text, problem) => {
  const app = express();
  policyRoutes(app, { policies: {} as never, network: { ownHost } });
  const failed: ErrorRequestHandler = (error, _request, response, _next) => {
    response.status(500).send((error as Error).message);
  };
  app.use(failed);
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const answer = await fetch(`http://127.0.0.1:${port}/caisson/policy/admin/check`, { method: 'POST', body: text });
  expect([answer.status, await answer.text()]).toEqual(
    problem === '' ? [204, ''] : [500, expect.stringContaining(problem)],
  );
  server.close();
});
