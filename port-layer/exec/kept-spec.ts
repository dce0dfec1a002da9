/** A container's spec as it is kept with its VM: JSON, and where that is long (ranges of ports, say) compressed. */
import { gunzipSync, gzipSync } from 'node:zlib';
import { isFullId } from '../../src/common/ids.js';
import { PortLayerError } from '../errors.js';
import type { ContainerSpec } from './container-spec.js';

/** What is longer is compressed: others stay readable for administrators. */
const PLAIN = 64 * 1024;
/** The specs of all containers travel in one answer of vSphere's. */
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

/** The spec that a VM keeps; null when it keeps none that can be read. */
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
