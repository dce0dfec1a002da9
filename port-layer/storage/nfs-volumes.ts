/**
 * The volumes of a volume store on an NFS server: a directory each, which the guests mount. What a volume is called and labelled is written
 * beside them, so that every virtual container host with this store has the same volumes:
 *
 *     volumes/<name>/                     what containers see
 *     volumes_metadata/<name>.json        its record; without one, the directory is a volume without labels
 *     volumes_removed/<name>-<random>/    what is being removed
 */
import { randomBytes } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { z } from 'zod';
import { isKind, messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { type Handle, NfsClient, type RpcTarget } from '../../src/nfs/index.js';
import type { NfsStoreConfig } from '../config.js';
import { PortLayerError } from '../errors.js';
import type { GuestMount, VolumeInfo } from './types.js';

const log = logger('storage');
export const NFS_PORT = 2049;
const [DATA, RECORDS, REMOVED] = ['volumes', 'volumes_metadata', 'volumes_removed'];
const VOLUME_MODE = 0o755;
const PRIVATE_MODE = 0o700;
/** Of volumes: whatever else is there is no volume. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}$/;
/** A name in REMOVED has more to it. */
const LONGEST_NAME = 230;

const record = z.object({
  createdAt: z.string(),
  driver: z.string(),
  labels: z.record(z.string(), z.string()).nullable(),
  options: z.record(z.string(), z.string()).nullable(),
});
type VolumeRecord = z.infer<typeof record>;

/** What a store needs of a client of its server; another one in tests. */
export type NfsFiles = Pick<
  NfsClient,
  | 'child'
  | 'directory'
  | 'directories'
  | 'makeDirectory'
  | 'provide'
  | 'readFile'
  | 'remove'
  | 'removeTree'
  | 'rename'
  | 'writeFile'
>;
type Reach = <T>(target: RpcTarget, work: (client: NfsFiles) => Promise<T>) => Promise<T>;

/** The directories of a store. */
interface Places {
  data: Handle;
  records: Handle;
  removed: Handle;
}

/** A new volume, of which the store decides where it is. */
export type NfsVolume = Omit<VolumeInfo, 'mount' | 'capacityBytes' | 'store'>;

export class NfsVolumes {
  constructor(
    private readonly config: NfsStoreConfig,
    private readonly reach: Reach = (target, work) => NfsClient.with(target, work),
  ) {}

  /** All volumes in the store. What an interrupted removal left goes on being removed. @throws unavailable */
  load(): Promise<VolumeInfo[]> {
    return this.work(async (client, places) => {
      const names = (await client.directories(places.data)).filter((name) => NAME.test(name));
      const found: VolumeInfo[] = [];
      for (const name of names) found.push(this.info(name, await this.record(client, places, name)));
      for (const name of await client.directories(places.removed))
        await client
          .removeTree(places.removed, name)
          .catch((error: unknown) => log.warn({ name, err: messageOf(error) }, 'files of a removed volume stay'));
      return found;
    });
  }

  /** Makes a volume. One of this name that is in the store already, made by another host, is returned as it is. @throws unavailable */
  async create({ name, createdAt, driver, labels, options }: NfsVolume): Promise<VolumeInfo> {
    if (name.length > LONGEST_NAME) throw new PortLayerError('volume.nfsName', { volume: name, most: LONGEST_NAME });
    return this.work(async (client, places) => {
      try {
        await client.makeDirectory(places.data, name, VOLUME_MODE);
      } catch (error) {
        if (!isKind(error, 'conflict')) throw error;
        return this.info(name, await this.record(client, places, name));
      }
      const about: VolumeRecord = { createdAt, driver, labels, options };
      try {
        await this.write(client, places, name, about);
      } catch (error) {
        await client.remove(places.data, name).catch(() => undefined);
        throw error;
      }
      return this.info(name, about);
    }, name);
  }

  /**
   * Removes a volume with all its files. One whose files the server does not let us remove stays, without those that it did.
   * @throws forbidden, unavailable
   */
  async remove(name: string): Promise<void> {
    await this.work(async (client, places) => {
      const aside = `${name}-${randomBytes(6).toString('hex')}`;
      try {
        await client.rename(places.data, name, places.removed, aside);
      } catch (error) {
        if (!isKind(error, 'notFound')) throw error;
      }
      // Also what an attempt has left that lost the server.
      const left = (await client.directories(places.removed)).filter(
        (one) => one.startsWith(name) && /^-[0-9a-f]{12}$/.test(one.slice(name.length)),
      );
      try {
        for (const one of left) await client.removeTree(places.removed, one);
      } catch (error) {
        // Its record is still there.
        await client.rename(places.removed, aside, places.data, name).catch(() => undefined);
        throw error;
      }
      await client.remove(places.records, `${name}.json`);
    }, name);
  }

  /** Where a volume is, in words. */
  placeOf(name: string): string {
    const { host, port = NFS_PORT, path } = this.config;
    const at = isIPv6(host) ? `[${host}]` : host;
    return `nfs://${at}${port === NFS_PORT ? '' : `:${port}`}${join(path, DATA!, name)}`;
  }

  private info(name: string, about: VolumeRecord | null): VolumeInfo {
    const { driver = 'local', labels = null, options = null, createdAt = new Date(0).toISOString() } = about ?? {};
    const { label } = this.config;
    return { name, driver, labels, options, createdAt, capacityBytes: 0, store: label, mount: this.mount(name) };
  }

  private mount(name: string): GuestMount {
    const { host, port = NFS_PORT, path } = this.config;
    const data = `addr=${host},vers=4.1${port === NFS_PORT ? '' : `,port=${port}`}`;
    return { type: 'nfs4', device: `:${join(path, DATA!, name)}`, flags: 0, data };
  }

  private async record(client: NfsFiles, { records }: Places, name: string): Promise<VolumeRecord | null> {
    try {
      const text = await client.readFile(records, `${name}.json`);
      return record.parse(JSON.parse(text.toString('utf8')));
    } catch (error) {
      // Its files are there: that makes it a volume.
      if (!isKind(error, 'notFound'))
        log.warn({ volume: name, err: messageOf(error) }, 'the record of an NFS volume cannot be read');
      return null;
    }
  }

  private async write(client: NfsFiles, { records }: Places, name: string, about: VolumeRecord): Promise<void> {
    const draft = `.${randomBytes(12).toString('hex')}`;
    try {
      await client.writeFile(records, `${name}.json`, draft, Buffer.from(JSON.stringify(about)));
    } catch (error) {
      await client.remove(records, draft).catch(() => undefined);
      throw error;
    }
  }

  /** Reaches the server, and says in an error which one. @param volume that this is about */
  private async work<T>(work: (client: NfsFiles, places: Places) => Promise<T>, volume = ''): Promise<T> {
    const { host, port = NFS_PORT, path, uid, gid, label } = this.config;
    try {
      return await this.reach({ host, port, uid, gid }, async (client) => {
        const root = await client.directory(path);
        const [data, records, removed] = [
          await client.provide(root, DATA!, VOLUME_MODE),
          await client.provide(root, RECORDS!, PRIVATE_MODE),
          await client.provide(root, REMOVED!, PRIVATE_MODE),
        ];
        return work(client, { data, records, removed });
      });
    } catch (error) {
      const reason = messageOf(error);
      throw new PortLayerError('volume.nfsFailed', { volume, store: label, server: `${host}:${path}`, reason }, error);
    }
  }
}

function join(...parts: string[]): string {
  return `/${parts
    .flatMap((part) => part.split('/'))
    .filter((part) => part !== '')
    .join('/')}`;
}
