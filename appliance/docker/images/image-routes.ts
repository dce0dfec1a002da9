/** Routes of images. */
import type { Request, Router } from 'express';
import { z } from 'zod';
import { invalid, notFound, unsupported } from '../../../src/common/errors.js';
import { matchesGlob } from '../../../src/common/glob.js';
import { goType } from '../../../src/common/go-json.js';
import {
  familiarString,
  type Image,
  joinReference,
  type ProgressMessage,
  parsePlatform,
  type RegistryAuth,
} from '../../image/index.js';
import type { Engine } from '../engine.js';
import { atLeast } from '../http/api-version.js';
import { body, checkFilters, filters, flag, hangup, query, versionOf } from '../http/request.js';
import { dockerMessage } from '../words/docker-message.js';
import { createdSeconds, imageHistory, imageRow, imageView, sharedSizes } from './image-view.js';

const authSchema = goType(
  'registry.AuthConfig',
  z.object({
    username: z.string().optional(),
    password: z.string().optional(),
    auth: z.string().optional(),
    serveraddress: z.string().optional(),
    identitytoken: z.string().optional(),
    registrytoken: z.string().optional(),
  }),
);

/** Adds the routes. */
export function imageRoutes(router: Router, engine: Engine): void {
  const { images } = engine;

  router.get('/images/json', (request, response) => {
    const given = filters(request);
    checkFilters(given, ['dangling', 'label', 'before', 'since', 'reference']);
    for (const value of given.get('dangling') ?? [])
      if (!['0', '1', 'true', 'false'].includes(value)) throw invalid(`invalid filter 'dangling=[${value}]'`);
    const version = versionOf(request);
    if (atLeast(version, '1.54') && flag(request, 'identity') && !flag(request, 'manifests'))
      throw invalid('conflicting options: identity requires manifests=1');
    // The newest way to say it has been there since 1.25, but old clients were heard until 1.41.
    const filter = atLeast(version, '1.41') ? '' : (query(request, 'filter') ?? '');
    if (filter !== '') given.set('reference', [...(given.get('reference') ?? []), filter]);
    const shared = atLeast(version, '1.42') && flag(request, 'shared-size') ? sharedSizes(images.list()) : null;
    response.json(
      filterImages(engine, given).map((image) => ({
        ...imageRow(engine, image, version),
        ...(shared === null ? {} : { SharedSize: shared.get(image.id) ?? 0 }),
      })),
    );
  });

  router.post('/images/create', async (request, response) => {
    if (query(request, 'fromSrc')) throw unsupported('importing images is not implemented');
    const name = query(request, 'fromImage') ?? '';
    if (name === '') throw invalid('invalid reference format');
    const tag = query(request, 'tag') ?? '';
    const reference = tag === '' ? name : tag.startsWith('sha256:') ? `${name}@${tag}` : `${name}:${tag}`;
    joinReference(name, tag);
    const platform = query(request, 'platform');
    if (platform) parsePlatform(platform);
    if (tag === '' && !/[:@][^/]*$/.test(name.split('/').at(-1) ?? ''))
      throw unsupported('pulling all tags of a repository is not implemented: name a tag');
    const legacy = !atLeast(versionOf(request), '1.52');
    const progress = (message: ProgressMessage): void => {
      if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/json' });
      const { error: _error, progress: _bar, ...newest } = message;
      response.write(`${JSON.stringify(legacy ? message : newest)}\r\n`);
    };
    try {
      await images.pull(reference, {
        auth: registryAuth(request),
        ...(platform ? { platform } : {}),
        signal: hangup(response),
        progress,
      });
    } catch (error) {
      // Before the first message it is an answer with a status; after, part of the stream.
      if (!response.headersSent) throw error;
      progress({ errorDetail: { message: dockerMessage(error) }, error: dockerMessage(error) });
    }
    response.end();
  });

  // Names contain slashes: the route takes all of the path between its ends.
  router.get('/images/*name/json', (request, response) => {
    response.json(imageView(engine, images.resolve(imageName(request)), versionOf(request)));
  });

  // Since 1.55. What is pulled here is one platform's image, without what an index attests of it.
  router.get('/images/*name/attestations', (request) => {
    if (!atLeast(versionOf(request), '1.55')) throw notFound('page not found');
    const { platform } = request.query;
    if (Array.isArray(platform) && platform.length > 1) throw invalid('only one platform value is currently supported');
    images.resolve(imageName(request));
    throw unsupported('the legacy image store does not support attestations');
  });

  router.get('/images/*name/history', (request, response) => {
    response.json(imageHistory(engine, images.resolve(imageName(request))));
  });

  router.post('/images/*name/tag', async (request, response) => {
    const repository = query(request, 'repo') ?? '';
    const tag = query(request, 'tag') ?? '';
    await images.tag(imageName(request), familiarString(joinReference(repository, tag)));
    response.status(201).end();
  });

  router.delete('/images/*name', async (request, response) => {
    const deleted = await images.remove(imageName(request), {
      force: flag(request, 'force'),
      noPrune: flag(request, 'noprune'),
      usedBy: (id) => engine.containerImages.usersOf(id),
    });
    response.json(deleted);
  });

  router.post('/auth', async (request, response) => {
    const auth = await body(request, authSchema, { required: true, root: '', plain: true });
    response.json({ Status: await images.login(auth), IdentityToken: '' });
  });
}

function imageName(request: Request): string {
  const name: unknown = request.params.name;
  return Array.isArray(name) ? name.join('/') : String(name);
}

function registryAuth(request: Request): RegistryAuth | undefined {
  const header = request.headers['x-registry-auth'];
  if (typeof header !== 'string' || header === '') return undefined;
  try {
    return authSchema.parse(JSON.parse(Buffer.from(header, 'base64url').toString('utf8') || '{}'));
  } catch {
    // As Docker: credentials that cannot be read are none.
    return undefined;
  }
}

function filterImages(engine: Engine, given: Map<string, string[]>): Image[] {
  const { images } = engine;
  const time = (reference: string): number => createdSeconds(images.resolve(reference));
  const [before, since] = [(given.get('before') ?? []).map(time), (given.get('since') ?? []).map(time)];
  return images
    .list()
    .filter((image) => {
      const created = createdSeconds(image);
      const dangling = given.get('dangling')?.[0];
      if (dangling !== undefined && (dangling === 'true' || dangling === '1') !== (image.repoTags.length === 0))
        return false;
      if (before.some((limit) => created >= limit) || since.some((limit) => created <= limit)) return false;
      const labels = image.config.config.Labels ?? {};
      const labelled = (given.get('label') ?? []).every((label) => {
        const [key = '', ...rest] = label.split('=');
        return labels[key] !== undefined && (rest.length === 0 || labels[key] === rest.join('='));
      });
      const references = given.get('reference') ?? [];
      return (
        labelled &&
        (references.length === 0 ||
          references.some((pattern) => image.repoTags.some((tag) => matchesReference(tag, pattern))))
      );
    })
    .sort((a, b) => createdSeconds(b) - createdSeconds(a));
}

/** `busy*`, `*:latest`, `repo/name:tag`: stars do not cross slashes. */
function matchesReference(tag: string, pattern: string): boolean {
  const parts = pattern.split('/');
  const fits = (name: string): boolean => {
    const own = name.split('/');
    return own.length === parts.length && own.every((part, index) => matchesGlob(part, parts[index]!));
  };
  const at = tag.lastIndexOf(':');
  return fits(tag) || fits(tag.slice(0, at));
}
