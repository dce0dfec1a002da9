/** The content types of raw and multiplexed streams. */
import { atLeast } from './api-version.js';

export const RAW_STREAM = 'application/vnd.docker.raw-stream';
const MULTIPLEXED_STREAM = 'application/vnd.docker.multiplexed-stream';
/** The content type of a stream. Since 1.42 it says whether the stream is multiplexed. */
export function streamType(tty: boolean, apiVersion: string): string {
  return !tty && atLeast(apiVersion, '1.42') ? MULTIPLEXED_STREAM : RAW_STREAM;
}
