/** The filters of `docker image ls` (moby `daemon/images/images.go`). */
import { invalid } from '../../../src/common/errors.js';
import { BadPattern, pathMatcher } from '../../../src/common/go-path-match.js';
import { familiarName, type Image, type ImageService, parseReference } from '../../image/index.js';
import { boolFilter, checkFilters, type Filters, hasLabel } from '../values/filters.js';
import { parseTime } from '../values/timestamps.js';
import { parentIds } from './image-view.js';

const KNOWN = ['dangling', 'label', 'before', 'since', 'reference', 'until'];

/**
 * The images that pass the filters.
 * @param all also images without a name that others were committed from
 * @returns each with only those of its names that do, newest first
 * @throws invalid for those and for values that Docker does not know; notFound for a `before` or `since` that does not exist
 */
export function filterImages(
  images: Pick<ImageService, 'list' | 'resolve'>,
  given: Filters,
  { all = false, now = Date.now() } = {},
): Image[] {
  checkFilters(given, KNOWN);
  const dangling = boolFilter(given, 'dangling', false);
  const passes = [...createdWithin(images, given, now), labelled(given.get('label') ?? [])];
  const patterns = (given.get('reference') ?? []).map(matcher);
  const named = (reference: string): boolean => patterns.length === 0 || patterns.some((fits) => fits(reference));
  const list = images.list();
  const parents = parentIds(list);
  return list
    .filter((image) => passes.every((pass) => pass(image)))
    .map((image) => ({
      ...image,
      repoTags: image.repoTags.filter(named),
      repoDigests: image.repoDigests.filter(named),
    }))
    .filter((image) => {
      const intermediate = parents.has(image.id);
      if (intermediate && dangling) return false;
      if (image.repoTags.length + image.repoDigests.length > 0) return !dangling || image.repoTags.length === 0;
      if (intermediate && !all) return false;
      return (dangling || !given.has('dangling')) && patterns.length === 0;
    });
}

type Test = (image: Image) => boolean;

/** Several limits count together. An image without a time passes none. */
function createdWithin(images: Pick<ImageService, 'resolve'>, given: Filters, now: number): Test[] {
  const created = (image: Image): number => Date.parse(image.config.created ?? '');
  const of = (reference: string): number => created(images.resolve(reference));
  const before = [
    ...(given.get('before') ?? []).map(of),
    ...(given.get('until') ?? []).map((until) => Number(parseTime(until, now) / 1_000_000n)),
  ];
  const since = (given.get('since') ?? []).map(of);
  return [
    ...before.map(
      (limit): Test =>
        (image) =>
          created(image) < limit,
    ),
    ...since.map(
      (limit): Test =>
        (image) =>
          created(image) > limit,
    ),
  ];
}

const labelled =
  (wanted: string[]): Test =>
  ({ config }) =>
    wanted.every((label) => hasLabel(config.config.Labels ?? {}, label));

/** Matches a name with its tag or digest, and without. @throws invalid */
function matcher(pattern: string): (reference: string) => boolean {
  try {
    const fits = pathMatcher(pattern);
    return (reference) => fits(reference) || fits(familiarName(parseReference(reference)));
  } catch (error) {
    if (error instanceof BadPattern) throw invalid(error.message, error);
    throw error;
  }
}
