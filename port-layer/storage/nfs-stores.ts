/** The volume stores that are on NFS servers. */
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { within } from '../../src/common/within.js';
import type { NfsStoreConfig } from '../config.js';
import { NfsVolumes } from './nfs-volumes.js';
import type { VolumeInfo } from './types.js';

const log = logger('storage');

export class NfsStores {
  private readonly stores: ReadonlyMap<string, NfsVolumes>;
  private readonly timers = new Set<NodeJS.Timeout>();
  private closed = false;
  /** How long an engine that starts waits for them; and after which time those that did not answer are asked again. */
  startMs = 2000;
  againMs = 30_000;

  /** @param open for tests */
  constructor(
    configs: readonly NfsStoreConfig[],
    open = (config: NfsStoreConfig): NfsVolumes => new NfsVolumes(config),
  ) {
    this.stores = new Map(configs.map((config) => [config.label, open(config)]));
  }

  /** The store of this label, if it is one on an NFS server. */
  of(label: string | undefined): NfsVolumes | undefined {
    return label === undefined ? undefined : this.stores.get(label);
  }

  /**
   * Finds their volumes. A server that does not answer costs only its volumes: they are found when it does.
   * @param found called for each, also later
   */
  async load(found: (volume: VolumeInfo) => void): Promise<void> {
    const all = [...this.stores].map(([label, store]) => this.loadOne(label, store, found));
    await within(Promise.all(all), this.startMs, () => undefined);
  }

  close(): void {
    this.closed = true;
    for (const timer of this.timers) clearTimeout(timer);
  }

  private async loadOne(label: string, store: NfsVolumes, found: (volume: VolumeInfo) => void): Promise<void> {
    try {
      for (const volume of await store.load()) found(volume);
    } catch (error) {
      if (this.closed) return;
      log.error({ store: label, err: messageOf(error) }, 'a volume store cannot be read yet: its volumes are missing');
      const timer = setTimeout(() => {
        this.timers.delete(timer);
        void this.loadOne(label, store, found);
      }, this.againMs).unref();
      this.timers.add(timer);
    }
  }
}
