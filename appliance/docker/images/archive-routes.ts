/** Routes by which images leave and enter in archives: `docker save`, `load` and `import`. */
import { Readable } from 'node:stream';
import type { Request, Response, Router } from 'express';
import { invalid } from '../../../src/common/errors.js';
import { commitReference, type ImageService, layerProgress, ProgressMeter, parsePlatform } from '../../image/index.js';
import { dockerConfigSchema } from '../containers/config/docker-config.js';
import { uncompressed } from '../http/archive-compression.js';
import { imageName } from '../http/image-name.js';
import { MessageStream } from '../http/message-stream.js';
import { platformParameter } from '../http/platform-parameter.js';
import { flag, hangup, query } from '../http/request.js';
import { sendTar } from '../http/send-tar.js';
import { ENGINE_VERSION } from '../system/version.js';
import { applyChanges } from './commit-changes.js';

type Images = Pick<ImageService, 'load' | 'save' | 'import' | 'download'>;

/** Adds the routes. */
export function archiveRoutes(router: Router, images: Images): void {
  router.get('/images/get', (request, response) => save(images, texts(request, 'names'), request, response));

  router.get('/images/*name/get', (request, response) => save(images, [imageName(request)], request, response));

  router.post('/images/load', async (request, response) => {
    const platform = platformParameter(request, '1.48');
    const quiet = flag(request, 'quiet');
    const messages = new MessageStream(request, response);
    try {
      await images.load(bodyTar(request), {
        ...(platform === undefined ? {} : { platform }),
        signal: hangup(response),
        ...(quiet ? {} : { progress: (message) => messages.send(message) }),
        said: (text) => messages.send({ stream: text }),
      });
      // What Docker sends when there is nothing to say.
      if (!response.headersSent) messages.send({});
    } catch (error) {
      messages.fail(error);
    } finally {
      request.resume();
    }
    response.end();
  });
}

async function save(images: Images, names: string[], request: Request, response: Response): Promise<void> {
  const platform = platformParameter(request, '1.48');
  const tar = images.save(names, {
    ...(platform === undefined ? {} : { platform }),
    signal: hangup(response),
  });
  await sendTar(response, tar, 'application/x-tar');
}

/** Answers `POST /images/create?fromSrc=`, which makes an image of an archive in the body or at a URL. */
export async function importRoute(images: Images, request: Request, response: Response): Promise<void> {
  const text = (name: string): string => query(request, name) ?? '';
  const source = text('fromSrc');
  const reference = commitReference(text('repo'), text('tag'));
  const platform = text('platform') === '' ? undefined : parsePlatform(text('platform'));
  const config = applyChanges(dockerConfigSchema.parse({}), texts(request, 'changes'));
  const messages = new MessageStream(request, response);
  const signal = hangup(response);
  try {
    const tar = source === '-' ? bodyTar(request) : await downloaded(images, source, messages, signal);
    const image = await images.import(tar, {
      config,
      fields: { docker_version: ENGINE_VERSION },
      comment: text('message') || `Imported from ${source}`,
      ...(platform === undefined ? {} : { platform }),
      reference,
      signal,
    });
    messages.send({ status: image.id });
  } catch (error) {
    // Before the first message an error gets a status of its own; after it, it is part of the stream.
    if (!response.headersSent) throw error;
    messages.fail(error);
  } finally {
    request.resume();
  }
  response.end();
}

async function downloaded(
  images: Images,
  source: string,
  messages: MessageStream,
  signal: AbortSignal,
): Promise<Readable> {
  const text = /^https?:\/\//.test(source) ? source : `http://${source}`;
  if (!URL.canParse(text)) throw invalid(`parse ${JSON.stringify(text)}: invalid URL`);
  const url = new URL(text);
  const { body, size } = await images.download(url, signal);
  messages.send({ status: `Downloading from ${url.href}` });
  const meter = new ProgressMeter(size, (current) => {
    const { id: _, ...message } = layerProgress('', 'Importing', current, size);
    messages.send(message);
  });
  let read = 0;
  body.on('data', (chunk: Buffer) => {
    read += chunk.length;
    meter.update(read);
  });
  body.pause();
  return unpacked(body);
}

/** The archive in a request's body, unpacked. Part of the body may stay unread. */
const bodyTar = (request: Request): Readable => unpacked(request);

function unpacked(source: Readable): Readable {
  const tar = Readable.from(uncompressed(source), { objectMode: false, highWaterMark: 1 << 20 });
  // Its errors reach whoever reads it.
  tar.on('error', () => undefined);
  return tar;
}

/** All values of a parameter. */
function texts(request: Request, name: string): string[] {
  query(request, name);
  const value = request.query[name];
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.filter((one): one is string => typeof one === 'string');
}
