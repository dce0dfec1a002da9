/** Requests to a virtual container host's own API, by its unix socket on this machine or by TCP. */
import { existsSync, readFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
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
export async function askVch(config: VchConfig, certificates: string | null, request: ApiRequest): Promise<string> {
  return textOf(await answerOf(config, certificates, request, { timeout: ANSWER_MS }));
}

/**
 * A request with a long body or answer, as slow as the other end may be.
 * @param from what is sent @param to where the answer goes @returns the answer's text, if it goes nowhere
 * @throws as {@link askVch}, also when the answer breaks off
 */
export async function streamVch(
  config: VchConfig,
  certificates: string | null,
  request: ApiRequest,
  { from, to }: { from?: Readable; to?: Writable },
): Promise<string> {
  const response = await answerOf(config, certificates, request, { from });
  if (to === undefined) return textOf(response);
  await pipeline(response, to).catch((error: unknown) => {
    throw unavailable(`what ${config.name} sent is not whole: ${messageOf(error)}`, error);
  });
  return '';
}

/** A request whose answer is read as it comes. @throws as {@link askVch} */
export function readVch(config: VchConfig, certificates: string | null, request: ApiRequest): Promise<Readable> {
  return answerOf(config, certificates, request, {});
}

/** The answer to a request. @throws unavailable; the error that the answer tells */
function answerOf(
  config: VchConfig,
  certificates: string | null,
  { method, path, body, type }: ApiRequest,
  { timeout, from }: { timeout?: number; from?: Readable | undefined },
): Promise<IncomingMessage> {
  const socketPath = dockerSocket(config);
  const listen = config.listen[0];
  const headers = {
    ...(body === undefined
      ? {}
      : { 'Content-Type': type ?? 'application/yaml', 'Content-Length': Buffer.byteLength(body) }),
    ...(from === undefined ? {} : { 'Content-Type': type ?? 'application/octet-stream' }),
  };
  const pem = (name: string): Buffer => readFileSync(join(certificates ?? '.', name));
  return new Promise((resolve, reject) => {
    const local = existsSync(socketPath);
    if (!local && listen === undefined)
      throw unavailable(`the Docker API of ${config.name} is not reachable from here`);
    const common = { method, path, headers, agent: false as const, ...(timeout === undefined ? {} : { timeout }) };
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
      if ((response.statusCode ?? 500) < 300) resolve(response);
      else
        void textOf(response).then(
          (text) => reject(new CaissonError(KINDS[response.statusCode ?? 500] ?? 'internal', told(text))),
          reject,
        );
    });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', (error) =>
      reject(unavailable(`the Docker API of ${config.name} does not answer: ${messageOf(error)}`, error)),
    );
    if (from === undefined) request.end(body);
    // Its end is told by the answer, or by the request's error.
    else pipeline(from, request).catch(() => undefined);
  });
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = '';
  for await (const part of response.setEncoding('utf8')) text += part as string;
  return text;
}

function told(text: string): string {
  try {
    return String((JSON.parse(text) as { message?: unknown }).message ?? text);
  } catch {
    return text;
  }
}
