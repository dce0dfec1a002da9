/** Volumes of the fake port layer: names and their records, without content. */
import { PortLayerError } from '../../port-layer/errors.js';
import type { NewVolume, VolumeContent, VolumeInfo, VolumeStore } from '../../port-layer/index.js';

/** @param used whether a container has a volume */
export class FakeVolumes implements VolumeStore {
  private readonly volumes = new Map<string, VolumeInfo>();
  /** Requested contents of volumes, in order. */
  readonly contents: (VolumeContent & { volume: string })[] = [];

  constructor(private readonly used: (name: string) => boolean) {}

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
