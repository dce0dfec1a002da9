/** A volume as the API shows it. */
import type { VolumeInfo } from '../../../port-layer/index.js';

/** @param source where it lies */
export function volumeView(volume: VolumeInfo, source: string): object {
  return {
    CreatedAt: volume.createdAt.replace(/\.\d+Z$/, 'Z'),
    Driver: volume.driver,
    Labels: volume.labels,
    Mountpoint: source,
    Name: volume.name,
    Options: volume.options,
    Scope: 'local',
  };
}
