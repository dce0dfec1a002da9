/** API versions: which are spoken, and what a request's version changes. */
import { invalid } from '../../src/common/errors.js';

export const API_VERSION = '1.51';
export const MIN_API_VERSION = '1.24';

const number = (version: string): number => {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major * 1000 + minor;
};

/** True when `version` is `wanted` or later. */
export function atLeast(version: string, wanted: string): boolean {
  return number(version) >= number(wanted);
}

/** @throws invalid in Docker's words for a version that is not spoken */
export function checkVersion(version: string): string {
  if (number(version) < number(MIN_API_VERSION)) {
    throw invalid(
      `client version ${version} is too old. Minimum supported API version is ${MIN_API_VERSION}, please upgrade your client to a newer version`,
    );
  }
  if (number(version) > number(API_VERSION)) {
    throw invalid(`client version ${version} is too new. Maximum supported API version is ${API_VERSION}`);
  }
  return version;
}
