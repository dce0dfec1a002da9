/** Platforms in queries, as JSON: `platform`, or `platforms` for several. */
import type { Request } from 'express';
import { z } from 'zod';
import { invalid, notFound } from '../../../src/common/errors.js';
import { GoJsonError, goType, readGoJson } from '../../../src/common/go-json.js';
import { formatPlatform, type Image, type Platform, platformMatch, platformOf } from '../../image/index.js';
import { atLeast } from './api-version.js';
import { query, versionOf } from './request.js';

const platformSchema = goType(
  'v1.Platform',
  z.object({ architecture: z.string().optional(), os: z.string().optional(), variant: z.string().optional() }),
);

/** The platform that a client wants. @param since the version that first knew the parameter there @throws invalid in Docker's words */
export function platformParameter(request: Request, since: string): Platform | undefined {
  const text = query(request, 'platform') ?? '';
  return text === '' || !atLeast(versionOf(request), since) ? undefined : readPlatform(text);
}

/** The same of `platforms`, where more than one is refused: of an image there is one platform here. */
export function onlyPlatformOf(request: Request, since: string): Platform | undefined {
  query(request, 'platforms');
  const given: unknown = request.query.platforms;
  if (given === undefined || !atLeast(versionOf(request), since)) return undefined;
  const platforms = (Array.isArray(given) ? given : [given]).map((text) => readPlatform(String(text)));
  if (platforms.length > 1) throw invalid('multiple platforms are not supported');
  return platforms[0];
}

function readPlatform(text: string): Platform {
  try {
    const { os = '', architecture = '', variant } = readGoJson(text, platformSchema);
    if (os === '' || architecture === '') throw invalid('both OS and Architecture must be provided');
    return platformOf({ os, architecture, variant });
  } catch (error) {
    if (error instanceof GoJsonError) throw invalid(`failed to parse platform: ${error.message}`);
    throw error;
  }
}

/** The image must be of the platform that is asked for, if one is. @throws notFound in Docker's words */
export function ofPlatform(image: Image, reference: string, platform: Platform | undefined): Image {
  const actual = platformOf(image.config);
  if (platform !== undefined && platformMatch(platform, actual) === 0)
    throw notFound(
      `image with reference ${reference} was found but its platform (${formatPlatform(actual)}) does not match the specified platform (${formatPlatform(platform)})`,
    );
  return image;
}
