/** Asking a virtual container host's Docker API whether it answers. */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ListenConfig } from '../../port-layer/config.js';
import { messageOf, timeout, unavailable } from '../common/errors.js';

/** Client certificate for hosts that want one (PEM). */
export interface ClientIdentity {
  ca: string;
  cert: string;
  key: string;
}

/** The address a client uses: wildcard addresses are reached over loopback. */
export function clientAddress(listen: ListenConfig): { host: string; port: number } {
  const host = listen.host === '0.0.0.0' ? '127.0.0.1' : listen.host === '::' ? '::1' : listen.host;
  return { host, port: listen.port };
}

/** `tcp://host:port`, as in DOCKER_HOST. */
export function dockerHost(listen: ListenConfig): string {
  const { host, port } = clientAddress(listen);
  return `tcp://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** One `GET /_ping`, to an address or a unix socket. @throws unavailable */
export function ping(place: ListenConfig | { socketPath: string }, identity?: ClientIdentity): Promise<void> {
  const address = 'socketPath' in place ? place : clientAddress(place);
  const name = 'socketPath' in place ? place.socketPath : dockerHost(place).slice('tcp://'.length);
  return new Promise((resolve, reject) => {
    const options = { ...address, path: '/_ping', timeout: 5000, agent: false as const };
    const request =
      'socketPath' in place || place.tls === undefined
        ? httpRequest(options)
        : httpsRequest({ ...options, ...identity, rejectUnauthorized: false });
    request.on('response', (response) => {
      response.resume();
      if (response.statusCode === 200) resolve();
      else reject(unavailable(`the Docker API at ${name} answers ${response.statusCode}`));
    });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', (error) => reject(unavailable(`the Docker API at ${name} does not answer: ${error.message}`)));
    request.end();
  });
}

/** Waits until the Docker API answers. For endpoints on other machines, whose processes cannot be seen. @throws timeout */
export async function waitForDocker(listen: ListenConfig, timeoutMs: number, identity?: ClientIdentity): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await ping(listen, identity);
    } catch (error) {
      if (Date.now() > deadline) {
        throw timeout(
          `The endpoint did not come up within ${Math.round(timeoutMs / 1000)} s: ${messageOf(error)}. Its log is endpoint.log in its VM's directory.`,
        );
      }
      await sleep(40);
    }
  }
}
