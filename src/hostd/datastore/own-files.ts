/** Files of a datastore that are hostd's own. Clients cannot name them and are not shown them. */
import { isRecordPath } from '../disks/disk-records.js';

/** Of a file that is being uploaded. */
export const UPLOAD_SUFFIX = '.caisson-upload';
/** In the directory of a VM that is being made or destroyed: see `unfinished-machines.ts`. */
export const UNFINISHED = '.caisson-unfinished';

export function isOwnFile(path: string): boolean {
  return isRecordPath(path) || path.split('/').some((name) => name.endsWith(UPLOAD_SUFFIX) || name === UNFINISHED);
}
