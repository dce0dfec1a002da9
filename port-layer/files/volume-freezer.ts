/** Freezes the filesystem of a volume in the guest of the container that writes to it. */
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { FilesView } from '../../tether/protocol/files.js';
import { PortLayerError } from '../errors.js';
import type { Container } from '../exec/container.js';
import type { ContainerCache } from '../exec/container-cache.js';
import { volumeDisks } from '../storage/volume-disks.js';
import type { Freeze } from '../storage/volume-life.js';
import { GuestFiles } from './guest-files.js';

const log = logger('files');

/** @param visit keeps a running container's guest awake: `Pauser.visit` */
export function volumeFreezer(
  containers: Pick<ContainerCache, 'resolve'>,
  visit: (container: Container) => Promise<() => void>,
): Freeze {
  return async (user, volume, ms) => {
    const refused = (error: unknown): Error =>
      new PortLayerError('volume.notStill', { volume, reason: messageOf(error) }, error);
    const container = containers.resolve(user.spec.id);
    const disk = volumeDisks(container.spec).find((one) => one.volume === volume);
    if (disk === undefined) throw new PortLayerError('volume.notFound', { volume });
    const leave = await visit(container).catch((error: unknown) => {
      throw refused(error);
    });
    let files: GuestFiles | null = null;
    const letGo = async (): Promise<void> => {
      await files
        ?.close()
        .catch((error: unknown) => log.warn({ volume, err: messageOf(error) }, 'a guest is left to thaw a volume'));
      leave();
    };
    try {
      const { channel } = container;
      if (channel === null) throw new PortLayerError('container.notRunning', { container: container.id });
      files = await GuestFiles.open(channel, FilesView.ofDisk);
      const frozen = await files.freezeVolume(disk, ms);
      const check = (): Promise<void> =>
        frozen().catch((error: unknown) => {
          throw new PortLayerError('volume.thawed', { volume, seconds: ms / 1000 }, error);
        });
      return { check, letGo };
    } catch (error) {
      await letGo();
      throw refused(error);
    }
  };
}
