/** What backups ask of a virtual container host: Docker's API, and a few routes of its own. */
import { Readable } from 'node:stream';
import type { VchConfig } from '../../../port-layer/config.js';
import { messageOf, unavailable } from '../../common/errors.js';
import { type ApiRequest, askVch, readVch, streamVch } from '../caisson-api.js';

/** See the file's head. Errors have the kind that the status of the answer says. */
export interface VchApi {
  /** The JSON of an answer; undefined if it is empty. @param body JSON too */
  ask(method: ApiRequest['method'], path: string, body?: object): Promise<unknown>;
  /** The bytes of an answer. */
  read(method: ApiRequest['method'], path: string, body?: object): Promise<Readable>;
  /** Sends bytes. @returns the text of the answer @throws the error of `content`, if that fails */
  send(method: ApiRequest['method'], path: string, content: AsyncIterable<Buffer>, type: string): Promise<string>;
}

const JSON_TYPE = 'application/json';
const withBody = (body?: object): Pick<ApiRequest, 'body' | 'type'> =>
  body === undefined ? {} : { body: JSON.stringify(body), type: JSON_TYPE };

/** The API of a host. @param certificates see `askVch` */
export function vchApi(config: VchConfig, certificates: string | null): VchApi {
  return {
    async ask(method, path, body) {
      const text = await askVch(config, certificates, { method, path, ...withBody(body) });
      try {
        return text === '' ? undefined : (JSON.parse(text) as unknown);
      } catch (error) {
        throw unavailable(`${config.name} sent no JSON: ${messageOf(error)}`, error);
      }
    },
    read: (method, path, body) => readVch(config, certificates, { method, path, ...withBody(body) }),
    async send(method, path, content, type) {
      let failure: unknown = null;
      // What is wrong with the content is worth more to the user than that the request broke off.
      const noted = async function* (): AsyncGenerator<Buffer> {
        try {
          yield* content;
        } catch (error) {
          failure = error;
          throw error;
        }
      };
      const from = Readable.from(noted(), { objectMode: false, highWaterMark: 1 << 20 });
      from.on('error', () => undefined);
      try {
        return await streamVch(config, certificates, { method, path, type }, { from });
      } catch (error) {
        throw failure ?? error;
      } finally {
        from.destroy();
      }
    },
  };
}
