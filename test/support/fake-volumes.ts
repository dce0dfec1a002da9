/** Volumes of the fake port layer: names and their records, without content. */
import type { VchConfig } from '../../port-layer/config.js';
import { PortLayerError } from '../../port-layer/errors.js';
import {
  type NewVolume,
  type VolumeContent,
  type VolumeInfo,
  type VolumeLifeStore,
  type VolumeSnapshot,
  type VolumeStore,
  volumeDiskName,
} from '../../port-layer/index.js';
import { VCH_CONFIG } from './vch-config.js';

type StorePlaces = Pick<VchConfig, 'id' | 'imageStore' | 'volumeStores'>;

/** @param used whether a container has a volume */
export class FakeVolumes implements VolumeStore {
  private readonly volumes = new Map<string, VolumeInfo>();
  /** Requested contents of volumes, in order. */
  readonly contents: (VolumeContent & { volume: string })[] = [];

  constructor(
    private readonly used: (name: string) => boolean,
    private readonly config: StorePlaces = VCH_CONFIG,
  ) {}

  list(): VolumeInfo[] {
    return [...this.volumes.values()];
  }

  get(name: string): VolumeInfo | undefined {
    return this.volumes.get(name);
  }

  async create(volume: NewVolume, content: VolumeContent | null = null): Promise<VolumeInfo> {
    const known = this.volumes.get(volume.name);
    if (known !== undefined) return known;
    const info = { ...volume, capacityBytes: volume.capacityBytes ?? 2 ** 34, createdAt: new Date().toISOString() };
    this.volumes.set(info.name, info);
    if (content !== null) this.contents.push({ ...content, volume: info.name });
    return info;
  }

  async populate(name: string, content: VolumeContent): Promise<boolean> {
    this.known(name);
    this.contents.push({ ...content, volume: name });
    return true;
  }

  placeOf(name: string): string {
    return volumeDiskName(this.config, name, this.volumes.get(name)?.store);
  }

  async remove(name: string): Promise<void> {
    this.known(name);
    if (this.used(name)) throw new PortLayerError('volume.inUse', { volume: name });
    this.volumes.delete(name);
  }

  async usage(name: string): Promise<number> {
    this.known(name);
    return 4096;
  }

  private known(name: string): void {
    if (!this.volumes.has(name)) throw new PortLayerError('volume.notFound', { volume: name });
  }
}

/** Snapshots and clones without content. */
export class FakeVolumeLife implements VolumeLifeStore {
  constructor(private readonly volumes: FakeVolumes) {}

  async snapshot(volume: string, name: string): Promise<VolumeSnapshot> {
    const info = this.known(volume);
    const snapshot = { name, createdAt: new Date().toISOString(), points: [], capacityBytes: info.capacityBytes };
    info.snapshots = [...(info.snapshots ?? []), snapshot];
    return snapshot;
  }

  async removeSnapshot(volume: string, name: string): Promise<void> {
    const info = this.known(volume);
    if (!(info.snapshots ?? []).some((one) => one.name === name))
      throw new PortLayerError('volume.noSnapshot', { volume, snapshot: name });
    info.snapshots = (info.snapshots ?? []).filter((one) => one.name !== name);
  }

  async revert(volume: string, name: string): Promise<VolumeInfo> {
    const info = this.known(volume);
    const found = (info.snapshots ?? []).find((one) => one.name === name);
    if (found === undefined) throw new PortLayerError('volume.noSnapshot', { volume, snapshot: name });
    info.capacityBytes = found.capacityBytes;
    return info;
  }

  async grow(volume: string, capacityBytes: number): Promise<VolumeInfo> {
    const info = this.known(volume);
    if (capacityBytes < info.capacityBytes)
      throw new PortLayerError('volume.shrunk', { volume, present: info.capacityBytes, wanted: capacityBytes });
    info.capacityBytes = capacityBytes;
    return info;
  }

  async clone(volume: NewVolume, source: { volume: string; snapshot?: string }): Promise<VolumeInfo> {
    this.known(source.volume);
    if (this.volumes.get(volume.name) !== undefined) throw new PortLayerError('volume.exists', { volume: volume.name });
    return this.volumes.create(volume);
  }

  private known(name: string): VolumeInfo {
    const info = this.volumes.get(name);
    if (info === undefined) throw new PortLayerError('volume.notFound', { volume: name });
    return info;
  }
}
