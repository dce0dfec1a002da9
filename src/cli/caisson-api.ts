/** Requests to a virtual container host's own API, by its unix socket on this machine or by TCP. */
import { existsSync, readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import type { VchConfig } from '../../port-layer/config.js';
import { CaissonError, type ErrorKind, messageOf, unavailable } from '../common/errors.js';
import { clientAddress } from './docker-probe.js';
import { dockerSocket } from './endpoint-wait.js';

const ANSWER_MS = 60_000;
const KINDS: Record<number, ErrorKind> = {
  400: 'invalid',
  403: 'forbidden',
  404: 'notFound',
  409: 'conflict',
  501: 'unsupported',
};

export interface ApiRequest {
  method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** `/caisson/…` */
  path: string;
  body?: string;
  type?: string;
}

/**
 * @param certificates directory with ca.pem, cert.pem and key.pem, for a host that wants them
 * @returns the answer's text
 * @throws unavailable when nobody answers; the error of the answer
 */
export function askVch(
  config: VchConfig,
  certificates: string | null,
  { method, path, body, type }: ApiRequest,
): Promise<string> {
  const socketPath = dockerSocket(config);
  const listen = config.listen[0];
  const headers = {
    ...(body === undefined
      ? {}
      : { 'Content-Type': type ?? 'application/yaml', 'Content-Length': Buffer.byteLength(body) }),
  };
  const pem = (name: string): Buffer => readFileSync(join(certificates ?? '.', name));
  return new Promise((resolve, reject) => {
    const local = existsSync(socketPath);
    if (!local && listen === undefined)
      throw unavailable(`the Docker API of ${config.name} is not reachable from here`);
    const common = { method, path, headers, timeout: ANSWER_MS, agent: false as const };
    const request =
      local || listen === undefined
        ? httpRequest({ ...common, socketPath })
        : listen.tls === undefined
          ? httpRequest({ ...common, ...clientAddress(listen) })
          : httpsRequest({
              ...common,
              ...clientAddress(listen),
              ...(certificates === null ? { rejectUnauthorized: false } : { ca: pem('ca.pem') }),
              ...(certificates === null || listen.tls.clientCa === undefined
                ? {}
                : { cert: pem('cert.pem'), key: pem('key.pem') }),
            });
    request.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => {
        const status = response.statusCode ?? 500;
        if (status < 300) resolve(text);
        else reject(new CaissonError(KINDS[status] ?? 'internal', told(text)));
      });
    });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', (error) =>
      reject(unavailable(`the Docker API of ${config.name} does not answer: ${messageOf(error)}`, error)),
    );
    request.end(body);
  });
}

function told(text: string): string {
  try {
    return String((JSON.parse(text) as { message?: unknown }).message ?? text);
  } catch {
    return text;
  }
}
