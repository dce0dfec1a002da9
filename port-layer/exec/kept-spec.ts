/** A container's spec as it is stored with its VM: JSON, compressed if it is long (because of ranges of ports, for example). */
import { gunzipSync, gzipSync } from 'node:zlib';
import { isFullId } from '../../src/common/ids.js';
import { PortLayerError } from '../errors.js';
import type { ContainerSpec } from './container-spec.js';

/** Only longer specs are compressed, so that administrators can read the others. */
const PLAIN = 64 * 1024;
/** The specs of all containers arrive in a single answer from vSphere. */
const MOST = 4 * 1024 * 1024;
const MOST_UNPACKED = 64 * 1024 * 1024;
const COMPRESSED = 'gzip:';

/** @throws invalid when it is too long */
export function keptSpec(spec: ContainerSpec): string {
  const text = JSON.stringify(spec);
  if (text.length <= PLAIN) return text;
  const packed = COMPRESSED + gzipSync(text).toString('base64');
  if (packed.length > MOST) throw new PortLayerError('container.specTooLarge', {});
  return packed;
}

/** The spec stored with a VM; null if there is none that can be read. */
export function readSpec(text: string | undefined): ContainerSpec | null {
  try {
    const json = text?.startsWith(COMPRESSED)
      ? gunzipSync(Buffer.from(text.slice(COMPRESSED.length), 'base64'), { maxOutputLength: MOST_UNPACKED }).toString()
      : text;
    const spec = JSON.parse(json ?? 'null') as ContainerSpec | null;
    return typeof spec?.id === 'string' && isFullId(spec.id) && spec.version === 1 ? spec : null;
  } catch {
    return null;
  }
}
