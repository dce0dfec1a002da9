/** Which API versions the engine speaks, and how they compare. */
import { invalid } from '../../../src/common/errors.js';

export const API_VERSION = '1.56';
export const MIN_API_VERSION = '1.24';

/** Below 0: `a` is older than `b`. Compares the numbers between the dots; what is missing counts as 0. */
function compare(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number));
  for (let i = 0; i < Math.max(left!.length, right!.length); i++) {
    const difference = (left![i] ?? 0) - (right![i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Whether `version` is `wanted` or later. */
export function atLeast(version: string, wanted: string): boolean {
  return compare(version, wanted) >= 0;
}

/** @throws invalid in Docker's words for a version that the engine does not speak */
export function checkVersion(version: string): string {
  if (!atLeast(version, MIN_API_VERSION)) {
    throw invalid(
      `client version ${version} is too old. Minimum supported API version is ${MIN_API_VERSION}, please upgrade your client to a newer version`,
    );
  }
  if (compare(version, API_VERSION) > 0) {
    throw invalid(`client version ${version} is too new. Maximum supported API version is ${API_VERSION}`);
  }
  return version;
}
