/** What a backup has: everything but the chunks. A file of JSON, with a digest of itself. */
import { z } from 'zod';
import { invalid, messageOf, unsupported } from '../common/errors.js';
import { HASH, hashOf } from './chunks.js';
import { contentSchema } from './content.js';

/** Of the layout of the directory and of this file. */
export const FORMAT = 1;
export const MAX_MANIFEST = 64 * 2 ** 20;
export const BACKUP_ID = /^\d{8}T\d{6}Z-[0-9a-f]{8}$/;

const words = z.record(z.string(), z.string()).nullable();
const object = z.record(z.string(), z.unknown());
const bytes = z.int().min(0);

const volumeSchema = z.strictObject({
  name: z.string().min(1).max(255),
  driver: z.string(),
  options: words,
  labels: words,
  /** Null: it has no disk of its own (tmpfs, NFS), and is made anew with its options. */
  disk: z
    .strictObject({
      capacityBytes: bytes.min(1).max(2 ** 42),
      unitBytes: bytes.min(2 ** 16).max(4 * 2 ** 20),
      content: contentSchema,
      /** The backup whose content this is a change of; null: all of it was read. */
      base: z.string().regex(BACKUP_ID).nullable(),
      /** How the host knows the state that was read again, so that the next backup can be based on it. */
      mark: z.string().max(100).nullable(),
    })
    .nullable(),
});

const containerSchema = z.strictObject({
  id: z.string().regex(HASH),
  name: z.string().min(1).max(255),
  /** Id of its image. */
  image: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  state: z.string(),
  /** As `docker inspect` shows them. */
  config: object,
  hostConfig: object,
  networks: z.record(z.string(), object),
  mounts: z.array(
    z.strictObject({
      volume: z.string(),
      path: z.string(),
      readOnly: z.boolean(),
      subpath: z.string().nullable(),
      /** Nobody has named the volume. */
      anonymous: z.boolean(),
    }),
  ),
  /** What its files differ in from those of the image: the tar of a layer. */
  changes: contentSchema,
});

const imageSchema = z.strictObject({
  id: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  tags: z.array(z.string()),
  digests: z.array(z.string()),
  size: bytes,
  /** The archive that `docker save` makes of it; null: it is only named. */
  archive: contentSchema.nullable(),
});

const manifestSchema = z.strictObject({
  id: z.string().regex(BACKUP_ID),
  createdAt: z.string(),
  /** What made it. */
  program: z.string(),
  vch: z.strictObject({ id: z.string(), name: z.string() }),
  /** Bytes that were read, and that the chunks written for it take. */
  read: bytes,
  written: bytes,
  volumes: z.array(volumeSchema),
  containers: z.array(containerSchema),
  /** As `POST /networks/create` takes them. */
  networks: z.array(object.and(z.object({ Name: z.string().min(1) }))),
  images: z.array(imageSchema),
});

export type Manifest = z.infer<typeof manifestSchema>;
export type BackedUpVolume = z.infer<typeof volumeSchema>;
export type BackedUpContainer = z.infer<typeof containerSchema>;
export type BackedUpImage = z.infer<typeof imageSchema>;

/** The text of the file. */
export function encodeManifest(manifest: Manifest): Buffer {
  const digest = hashOf(Buffer.from(JSON.stringify(manifest)));
  return Buffer.from(`${JSON.stringify({ format: FORMAT, digest, backup: manifest })}\n`);
}

const envelope = z.object({ format: z.int(), digest: z.string(), backup: z.unknown() });

/** @throws invalid for a file that is damaged or is none; unsupported for one of a later version */
export function decodeManifest(text: Buffer): Manifest {
  try {
    const { format, digest, backup } = envelope.parse(JSON.parse(text.toString('utf8')));
    if (format !== FORMAT) throw unsupported(`it has the format ${format}; this program knows ${FORMAT}`);
    if (hashOf(Buffer.from(JSON.stringify(backup))) !== digest)
      throw invalid('its digest is not the one that it names');
    return manifestSchema.parse(backup);
  } catch (error) {
    if (error instanceof z.ZodError) {
      const issue = error.issues[0];
      throw invalid([issue?.path.join('.'), issue?.message].filter(Boolean).join(': '), error);
    }
    throw error instanceof SyntaxError ? invalid(`it is no JSON: ${messageOf(error)}`, error) : error;
  }
}

/** A new id: the time, so that they sort, and something of its own. */
export function backupId(now: Date, random: Buffer): string {
  return `${now.toISOString().replace(/[-:]|\.\d+/g, '')}-${random.toString('hex').slice(0, 8)}`;
}
