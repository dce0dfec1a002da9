/** The filters of `docker image ls`. */

import { invalid } from '../../../src/common/errors.js';
import { matchesGlob } from '../../../src/common/glob.js';
import type { Image, ImageService } from '../../image/index.js';
import { checkFilters, hasLabel } from '../values/filters.js';
import { createdSeconds } from './image-view.js';

/** @throws invalid for filters and values that Docker does not know */
export function checkImageFilters(given: Map<string, string[]>): void {
  checkFilters(given, ['dangling', 'label', 'before', 'since', 'reference']);
  for (const value of given.get('dangling') ?? [])
    if (!['0', '1', 'true', 'false'].includes(value)) throw invalid(`invalid filter 'dangling=[${value}]'`);
}

/** The images that pass the filters, newest first. @throws notFound for a `before` or `since` that does not exist */
export function filterImages(images: Pick<ImageService, 'list' | 'resolve'>, given: Map<string, string[]>): Image[] {
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
      const labelled = (given.get('label') ?? []).every((label) => hasLabel(labels, label));
      const references = given.get('reference') ?? [];
      return (
        labelled &&
        (references.length === 0 ||
          references.some((pattern) => image.repoTags.some((tag) => matchesReference(tag, pattern))))
      );
    })
    .sort((a, b) => createdSeconds(b) - createdSeconds(a));
}

/** `busy*`, `*:latest`, `repo/name:tag`. A star does not match a slash. */
function matchesReference(tag: string, pattern: string): boolean {
  const parts = pattern.split('/');
  const fits = (name: string): boolean => {
    const own = name.split('/');
    return own.length === parts.length && own.every((part, index) => matchesGlob(part, parts[index]!));
  };
  const at = tag.lastIndexOf(':');
  return fits(tag) || fits(tag.slice(0, at));
}
