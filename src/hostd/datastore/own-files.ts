/** Files in a datastore that are hostd's own: no client names them, and none is shown them. */
import { isRecordPath } from '../disks/disk-records.js';

/** Of a file that is being uploaded. */
export const UPLOAD_SUFFIX = '.caisson-upload';

export function isOwnFile(path: string): boolean {
  return isRecordPath(path) || path.split('/').some((name) => name.endsWith(UPLOAD_SUFFIX));
}
