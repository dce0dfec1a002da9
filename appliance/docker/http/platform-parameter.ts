/** The query parameter `platform` of routes that take it as JSON. */
import type { Request } from 'express';
import { z } from 'zod';
import { invalid } from '../../../src/common/errors.js';
import { GoJsonError, goType, readGoJson } from '../../../src/common/go-json.js';
import { type Platform, platformOf } from '../../image/index.js';
import { atLeast } from './api-version.js';
import { query, versionOf } from './request.js';

const platformSchema = goType(
  'v1.Platform',
  z.object({ architecture: z.string().optional(), os: z.string().optional(), variant: z.string().optional() }),
);

/** The platform that a client wants. @param since the version that first knew the parameter there @throws invalid in Docker's words */
export function platformParameter(request: Request, since: string): Platform | undefined {
  const text = query(request, 'platform') ?? '';
  if (text === '' || !atLeast(versionOf(request), since)) return undefined;
  try {
    const { os = '', architecture = '', variant } = readGoJson(text, platformSchema);
    if (os === '' || architecture === '') throw invalid('both OS and Architecture must be provided');
    return platformOf({ os, architecture, variant });
  } catch (error) {
    if (error instanceof GoJsonError) throw invalid(`failed to parse platform: ${error.message}`);
    throw error;
  }
}
