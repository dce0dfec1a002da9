/**
 * The vim25 service through the `soap` package: operations, envelopes and SOAPAction come from the WSDL. Data goes in and out as XML that
 * our codec writes and reads, and HTTPS is our {@link Transport}.
 *
 * The reason: the package's own codec loses vim25 data (see `codec.ts`) and is 2 to 5 times slower. Measured this way against vcsim with
 * soap 1.13: 0.25 to 0.4 ms per call, the same as without the package; loading it and the WSDL costs a process about 100 ms and 25 MB once.
 */
import { Client, type IHttpClient, WSDL } from 'soap';
import { unavailable } from '../common/errors.js';
import { currentOperation } from '../common/log.js';
import { readText, type Transport } from './transport.js';
import { describeService } from './wsdl.js';
import { escapeXml } from './xml.js';

/** What a call needs in addition to its content. */
export interface ServiceCallOptions {
  signal?: AbortSignal;
  idleTimeoutMs?: number;
}

/** The service's description. It is not used to decode answers. */
class Description extends WSDL {
  override xmlToObject(): object {
    return { Body: {} };
  }
}

const ADDRESS = 'https://vcenter/sdk';
let description: Promise<WSDL> | undefined;

/** The WSDL, loaded once for all clients of the process: for the first one, or before, by a process that has time. */
export function loadDescription(): Promise<WSDL> {
  description ??= new Promise((resolve, reject) => {
    const wsdl = new Description(describeService(ADDRESS), ADDRESS, {});
    wsdl.onReady((error: Error | null) => (error === null || error === undefined ? resolve(wsdl) : reject(error)));
  });
  return description;
}

type Operation = (
  args: { _xml: string },
  options: ServiceCallOptions,
) => Promise<[result: unknown, rawResponse: string, ...rest: unknown[]]>;

/** The SOAP side of one server. */
export class SoapService {
  private constructor(private readonly client: Client) {}

  /** Opens a service whose messages go through `transport`. */
  static async open(transport: Transport): Promise<SoapService> {
    const client = new Client(await loadDescription(), ADDRESS, { httpClient: httpClient(transport) });
    // Called for each message, in the caller's context.
    client.addSoapHeader(() => {
      const id = currentOperation();
      return id === undefined ? '' : `<operationID xmlns="urn:vim25">${escapeXml(id)}</operationID>`;
    });
    return new SoapService(client);
  }

  /**
   * One round trip. @param content of the operation's element
   * @returns the answer's envelope, which may hold a fault
   * @throws unavailable, cancelled
   */
  async call(operation: string, content: string, options: ServiceCallOptions): Promise<string> {
    const method = this.client[`${operation}Async`] as Operation | undefined;
    if (method === undefined) throw unavailable(`the service has no operation ${operation}`);
    const namespaces = 'xmlns="urn:vim25" xmlns:xsd="http://www.w3.org/2001/XMLSchema"';
    try {
      const [, answer] = await method(
        { _xml: `<${operation} ${namespaces}>${content}</${operation}>` },
        { ...options },
      );
      return answer;
    } finally {
      // The package keeps the last messages for debugging: megabytes of them, and passwords.
      this.client.lastRequest = undefined;
      this.client.lastMessage = undefined;
      this.client.lastResponse = undefined;
    }
  }
}

/** Our transport in the shape that the package expects. */
function httpClient(transport: Transport): IHttpClient {
  const request = async (
    data: string,
    callback: (error: unknown, response?: object, body?: string) => void,
    headers: Record<string, string>,
    options: ServiceCallOptions,
  ): Promise<void> => {
    let status: number | undefined;
    let body: string;
    try {
      const answer = await transport.exchange({
        method: 'POST',
        path: transport.sdkPath,
        headers: { ...headers, 'content-length': Buffer.byteLength(data) },
        body: data,
        signal: options.signal,
        idleTimeoutMs: options.idleTimeoutMs,
      });
      status = answer.statusCode;
      body = await readText(answer);
      // SOAP 1.1, section 6.2: faults come with status 500.
      if (status !== 200 && status !== 500) throw unavailable(`the server answered with HTTP status ${status}`);
    } catch (error) {
      callback(error);
      return;
    }
    callback(null, { status }, body);
  };
  return {
    request: (_url, data, callback, headers, options) =>
      request(
        data as string,
        callback,
        (headers ?? {}) as Record<string, string>,
        (options ?? {}) as ServiceCallOptions,
      ) as never,
  };
}
