/** Cleans names in a layer's tar and keeps them inside the root. */
import { invalid } from '../../common/errors.js';

/** The kernel's PATH_MAX. */
const MAX_PATH = 4096;

/**
 * The components of `name`, which starts at the root whether or not it begins with a slash. `.` is dropped, and `..` removes the component
 * before it. Throws `invalid` for a name that leads out of the root.
 */
export function cleanPath(name: string): string[] {
  if (name.length >= MAX_PATH) throw invalid('a path in the layer has more than 4095 bytes');
  const parts: string[] = [];
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.pop() === undefined) {
      throw invalid(`the layer leads out of its root: ${JSON.stringify(Buffer.from(name, 'latin1').toString())}`);
    }
  }
  return parts;
}
