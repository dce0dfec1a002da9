/** What a user of Docker reads of an error. */
import {
  type ErrorCode,
  type ErrorRecord,
  type ErrorSubject,
  errorOf,
  PortLayerError,
} from '../../../port-layer/index.js';
import { messageOf } from '../../../src/common/errors.js';
import { WORDS } from './port-layer-words.js';

/** The message of any thrown value in Docker's words, for answers, streams and events. Logs take `messageOf`. */
export function dockerMessage(error: unknown): string {
  if (!(error instanceof PortLayerError)) return messageOf(error);
  const { code, subject, message }: PortLayerError = error;
  const words = WORDS[code] as ((subject: ErrorSubject<ErrorCode>) => string) | null;
  return words === null ? message : words(subject);
}

/** The same of an error that was kept, such as why a container's last start failed; '' for none. */
export function dockerMessageOf(record: ErrorRecord | null): string {
  return record === null ? '' : dockerMessage(errorOf(record));
}
