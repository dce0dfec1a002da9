import { createServer, get } from 'node:https';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { makeCertificates } from '../../../src/cli/certificates.js';

it('makes certificates that a mutual TLS connection accepts, and only with the client certificate', async () => {
  const made = await makeCertificates('localhost', ['127.0.0.1'], 'Test');
  const server = createServer(
    { cert: made.serverCert, key: made.serverKey, ca: made.ca, requestCert: true, rejectUnauthorized: true },
    (_request, response) => response.end('ok'),
  ).listen(0, '127.0.0.1');
  await new Promise((listening) => server.once('listening', listening));
  const { port } = server.address() as AddressInfo;
  const ask = (identity: { cert?: string; key?: string }): Promise<string> =>
    new Promise((resolve, reject) => {
      get({ host: '127.0.0.1', port, ca: made.ca, agent: false, ...identity }, (response) => {
        response.setEncoding('utf8').on('data', resolve);
      }).on('error', reject);
    });
  try {
    await expect(ask({ cert: made.clientCert, key: made.clientKey })).resolves.toBe('ok');
    await expect(ask({})).rejects.toThrow();
  } finally {
    server.closeAllConnections();
    await new Promise((closed) => server.close(closed));
  }
});
