/**
 * What `vic-machine backup` needs besides Docker's own API: reading volumes and the files of containers, and putting the latter back. Below
 * `/caisson/`, with the authentication of the Docker API.
 */
import { Readable } from 'node:stream';
import type { Router } from 'express';
import { z } from 'zod';
import type { ExecService, FileService, VolumeBackupStore } from '../../../port-layer/index.js';
import { invalid } from '../../../src/common/errors.js';
import { goType } from '../../../src/common/go-json.js';
import { annotationsOf, recordOf } from '../containers/container-record.js';
import { uncompressed } from '../http/archive-compression.js';
import { body, hangup, query } from '../http/request.js';
import { sendTar } from '../http/send-tar.js';
import type { VolumeService } from '../volumes/volume-service.js';
import { type BackupWish, backupStream } from './backup-stream.js';

/** Names, and marks of one volume, that a request may have. */
const MAX_NAMES = 10_000;
const MAX_MARKS = 64;

const readSchema = goType(
  'caisson.BackupOptions',
  z.object({
    Volumes: z
      .array(
        goType(
          'caisson.BackupVolume',
          z.object({ Name: z.string(), Since: z.array(z.string()).max(MAX_MARKS).nullish() }),
        ),
      )
      .max(MAX_NAMES)
      .nullish(),
    Containers: z.array(z.string()).max(MAX_NAMES).nullish(),
  }),
);

/** What the routes need. */
export interface BackupParts {
  exec: Pick<ExecService, 'resolve' | 'annotate'>;
  files: Pick<FileService, 'layer' | 'restoreLayer'>;
  volumes: Pick<VolumeService, 'get'>;
  volumeBackups: VolumeBackupStore;
}

/** Adds the routes. */
export function backupRoutes(router: Router, parts: BackupParts): void {
  const { exec, files, volumes } = parts;

  router.post('/caisson/backup/read', async (request, response) => {
    const { Volumes, Containers } = await body(request, readSchema);
    const wish: BackupWish = {
      volumes: (Volumes ?? []).map(({ Name, Since }) => ({ volume: volumes.get(Name).name, since: Since ?? [] })),
      containers: (Containers ?? []).map((one) => exec.resolve(one)),
    };
    if (new Set(wish.volumes.map(({ volume }) => volume)).size !== wish.volumes.length)
      throw invalid('a volume is named twice');
    const stream = backupStream(parts, wish, hangup(response));
    const readable = Readable.from(stream, { objectMode: false, highWaterMark: 1 << 20 });
    // Errors are left to whoever reads the stream.
    readable.on('error', () => undefined);
    await sendTar(response, readable, 'application/octet-stream');
  });

  router.put('/caisson/backup/containers/:id/changes', async (request, response) => {
    try {
      const container = exec.resolve(request.params.id);
      const { mounts } = recordOf(container);
      const anonymous = (query(request, 'anonymous') ?? '').split(',').filter((name) => name !== '');
      for (const name of anonymous)
        if (!mounts.some((mount) => mount.name === name))
          throw invalid(`container ${container.spec.id} has no volume '${name.slice(0, 80)}'`);
      const tar = Readable.from(uncompressed(request), { objectMode: false, highWaterMark: 1 << 20 });
      tar.on('error', () => undefined);
      await files.restoreLayer(container.spec.id, tar, hangup(response));
      // It was given its volumes by name, and some of them were nobody's choice.
      if (anonymous.length > 0)
        await exec.annotate(
          container.spec.id,
          annotationsOf({
            mounts: mounts.map((one) => (anonymous.includes(one.name) ? { ...one, anonymous: true } : one)),
          }),
        );
      response.status(204).end();
    } finally {
      request.resume();
    }
  });
}
