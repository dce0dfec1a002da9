/** Routes of images. */
import type { Router } from 'express';
import { invalid, notFound, unsupported } from '../../../src/common/errors.js';
import {
  commitReference,
  familiarString,
  type ImageService,
  joinReference,
  type ProgressMessage,
  parsePlatform,
  parseReference,
} from '../../image/index.js';
import { atLeast } from '../http/api-version.js';
import { imageName } from '../http/image-name.js';
import { MessageStream } from '../http/message-stream.js';
import { ofPlatform, onlyPlatformOf, platformParameter } from '../http/platform-parameter.js';
import { authSchema, registryAuth } from '../http/registry-auth.js';
import { body, filters, flag, hangup, query, versionOf } from '../http/request.js';
import { importRoute } from './archive-routes.js';
import type { ContainerImages } from './container-images.js';
import { filterImages } from './image-filters.js';
import { imageHistory, imageRow, imageView, sharedSizes } from './image-view.js';

/** What the routes need. */
export interface ImageParts {
  images: ImageService;
  containerImages: Pick<ContainerImages, 'usersOf'>;
}

/** Adds the routes. */
export function imageRoutes(router: Router, { images, containerImages }: ImageParts): void {
  router.get('/images/json', (request, response) => {
    const given = filters(request);
    const version = versionOf(request);
    if (atLeast(version, '1.54') && flag(request, 'identity') && !flag(request, 'manifests'))
      throw invalid('conflicting options: identity requires manifests=1');
    // `filters` has had `reference` since 1.25, but `filter` was still read until 1.41.
    const filter = atLeast(version, '1.41') ? '' : (query(request, 'filter') ?? '');
    if (filter !== '') given.set('reference', [...(given.get('reference') ?? []), filter]);
    const found = filterImages(images, given, { all: flag(request, 'all') });
    const shared = atLeast(version, '1.42') && flag(request, 'shared-size') ? sharedSizes(images.list()) : null;
    response.json(
      found.map((image) => ({
        ...imageRow(image, containerImages.usersOf(image.id).length, version),
        ...(shared === null ? {} : { SharedSize: shared(image) }),
      })),
    );
  });

  router.post('/images/create', async (request, response) => {
    if (query(request, 'fromSrc')) return importRoute(images, request, response);
    const reference = pullReference(query(request, 'fromImage') ?? '', query(request, 'tag') ?? '');
    const platform = query(request, 'platform');
    if (platform) parsePlatform(platform);
    const messages = new MessageStream(request, response);
    try {
      const options = {
        auth: registryAuth(request),
        ...(platform ? { platform } : {}),
        signal: hangup(response),
        progress: (message: ProgressMessage) => messages.send(message),
      };
      if (reference.allTags) await images.pullAll(reference.name, options);
      else await images.pull(reference.name, options);
    } catch (error) {
      // Before the first message an error gets a status of its own; after it, it is part of the stream.
      if (!response.headersSent) throw error;
      messages.fail(error);
    }
    response.end();
  });

  router.get('/images/*name/json', (request, response) => {
    const version = versionOf(request);
    const platform = platformParameter(request, '1.49');
    // Manifests, which were asked for since 1.48, are those of an index; of one, a pull here keeps only its platform's image.
    if (platform !== undefined && atLeast(version, '1.48') && flag(request, 'manifests'))
      throw invalid('conflicting options: manifests and platform options cannot both be set');
    const name = imageName(request);
    response.json(imageView(ofPlatform(images.resolve(name), name, platform), version));
  });

  // Since 1.55. A pull here takes one platform's image, without the attestations of its index.
  router.get('/images/*name/attestations', (request) => {
    if (!atLeast(versionOf(request), '1.55')) throw notFound('page not found');
    const { platform } = request.query;
    if (Array.isArray(platform) && platform.length > 1) throw invalid('only one platform value is currently supported');
    images.resolve(imageName(request));
    throw unsupported('the legacy image store does not support attestations');
  });

  router.get('/images/*name/history', (request, response) => {
    const name = imageName(request);
    const image = ofPlatform(images.resolve(name), name, platformParameter(request, '1.48'));
    response.json(imageHistory(images.list(), image));
  });

  router.post('/images/*name/push', async (request, response) => {
    const name = imageName(request);
    const tag = query(request, 'tag') ?? '';
    // Without a tag, all tags of the repository.
    const parsed = tag === '' ? parseReference(name) : joinReference(name, tag);
    if (tag !== '' && parsed.tag === undefined) throw invalid('invalid tag format');
    const reference = familiarString(parsed);
    const platform = platformParameter(request, '1.46');
    if (platform !== undefined) ofPlatform(images.resolve(reference), reference, platform);
    const messages = new MessageStream(request, response);
    try {
      await images.push(reference, {
        auth: registryAuth(request),
        signal: hangup(response),
        progress: (message) => messages.send(message),
      });
    } catch (error) {
      if (!response.headersSent) throw error;
      messages.fail(error);
    }
    response.end();
  });

  router.post('/images/*name/tag', async (request, response) => {
    const repository = query(request, 'repo') ?? '';
    const tag = query(request, 'tag') ?? '';
    const reference = commitReference(repository, tag);
    if (reference === null) throw invalid('invalid reference format');
    await images.tag(imageName(request), familiarString(reference));
    response.status(201).end();
  });

  router.delete('/images/*name', async (request, response) => {
    const name = imageName(request);
    const platform = onlyPlatformOf(request, '1.50');
    if (platform !== undefined) ofPlatform(images.resolve(name), name, platform);
    const deleted = await images.remove(name, {
      force: flag(request, 'force'),
      noPrune: flag(request, 'noprune'),
      usedBy: (id) => containerImages.usersOf(id),
    });
    response.json(deleted);
  });

  router.post('/auth', async (request, response) => {
    const auth = await body(request, authSchema, { required: true, root: '', plain: true });
    response.json({ Status: await images.login(auth), IdentityToken: '' });
  });
}

/** The image that a pull names; `allTags`: a repository without a tag. @throws invalid in Docker's words */
function pullReference(repository: string, tag: string): { name: string; allTags: boolean } {
  if (repository === '') throw invalid('invalid reference format');
  joinReference(repository, tag);
  const name = tag === '' ? repository : tag.startsWith('sha256:') ? `${repository}@${tag}` : `${repository}:${tag}`;
  return { name, allTags: tag === '' && !/[:@][^/]*$/.test(repository.split('/').at(-1) ?? '') };
}
