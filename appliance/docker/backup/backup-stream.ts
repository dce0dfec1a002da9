/** What is read for a backup, as one stream. */
import type { ContainerInfo, FileService, VolumeBackupStore, VolumeSince } from '../../../port-layer/index.js';
import { FrameKind } from '../../../src/common/backup-frames.js';
import { conflict, messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { isUp } from '../containers/container-state.js';
import { dockerMessage } from '../words/docker-message.js';
import { frame, recordFrame, unitFrame } from './backup-frames.js';

const log = logger('docker');

/** What is to be read. */
export interface BackupWish {
  volumes: VolumeSince[];
  containers: ContainerInfo[];
}

/** The frames. The states of all volumes are taken before the first of them is read. @throws as what it reads */
export async function* backupStream(
  { files, volumeBackups }: { files: Pick<FileService, 'layer'>; volumeBackups: VolumeBackupStore },
  { volumes, containers }: BackupWish,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let begun = false;
  try {
    for await (const part of contentOf({ files, volumeBackups }, { volumes, containers }, signal)) {
      begun = true;
      yield part;
    }
  } catch (error) {
    // An answer that has begun has no status any more: the reason is its last record.
    if (!begun) throw error;
    log.warn({ err: messageOf(error) }, 'a backup broke off');
    yield* recordFrame({ type: 'failed', message: dockerMessage(error) });
  }
}

async function* contentOf(
  { files, volumeBackups }: { files: Pick<FileService, 'layer'>; volumeBackups: VolumeBackupStore },
  { volumes, containers }: BackupWish,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  for (const { spec, state } of containers)
    if (state === 'removing' || state === 'dead') throw conflict(`container ${spec.id} is being removed`);
  for await (const piece of volumeBackups.read(volumes, signal))
    yield* piece.type === 'unit' ? unitFrame(piece.unit, piece.data) : recordFrame(piece);
  for (const container of containers) {
    const { id } = container.spec;
    yield* recordFrame({ type: 'container', id });
    const tar = await files.layer(id, { freeze: isUp(container) && !container.paused }, signal);
    for await (const bytes of tar) yield* frame(FrameKind.bytes, bytes as Buffer);
    yield* recordFrame({ type: 'containerEnd', id });
  }
  yield* recordFrame({ type: 'end' });
}
