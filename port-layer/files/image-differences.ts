/** What an image's layer changes, read from disks: the tar of a layer whose own tar is not known. */
import { Readable } from 'node:stream';
import type { DiskReaders } from '../disks/disk-readers.js';
import type { DiskSource } from '../disks/disk-source.js';
import { layerTar } from './layer-tar.js';

/** Where the disks are. */
export type DiskPlace = Omit<DiskSource, 'what' | 'path' | 'layers' | 'stepByStep'>;

/**
 * A tar that turns one image into another; the same disks give the same bytes.
 * @param below disks of the one, and `disks` of the other: each with those under it, the upper ones first
 * @throws cancelled, unavailable ("the filesystem of … cannot be read: …")
 */
export async function imageDifferences(
  readers: DiskReaders,
  place: DiskPlace,
  below: string[],
  disks: string[],
  signal?: AbortSignal,
): Promise<Readable> {
  const call = readers.call(signal);
  const open = (layers: string[]) => call.open({ ...place, what: 'an image', path: layers[0]!, layers });
  const image = await open(below);
  try {
    const files = await open(disks);
    const tar = layerTar(image, files, { images: true });
    const readable = Readable.from(call.client.sent(tar), { objectMode: false, highWaterMark: 256 * 1024 });
    call.client.serves((error) => readable.destroy(error));
    // Errors are left to whoever reads the stream.
    readable.on('error', () => undefined);
    readable.once('close', () => void Promise.allSettled([files.close(), image.close()]));
    return readable;
  } catch (error) {
    await image.close();
    throw error;
  }
}
