/** Docker's volumes: made and removed by themselves or with containers, and used by containers. */
import { posix } from 'node:path';
import type { VchConfig } from '../../../port-layer/config.js';
import {
  type ContainerInfo,
  type ContainerSpec,
  type ExecService,
  type NewVolume,
  storeLabels,
  type VolumeInfo,
  type VolumeLifeStore,
  type VolumeStore,
  volumeDisks,
} from '../../../port-layer/index.js';
import { CaissonError, conflict, invalid, messageOf, notFound } from '../../../src/common/errors.js';
import { newId } from '../../../src/common/ids.js';
import { logger } from '../../../src/common/log.js';
import type { CreateBody } from '../containers/config/create-body.js';
import { type MountPoint, recordOf } from '../containers/container-record.js';
import type { EventBus } from '../events/event-bus.js';
import { dockerMessage } from '../words/docker-message.js';
import { withMounts } from './mount-points.js';
import { parseBind, parseConfigured, parseMount, parseVolumesFrom, type WantedMount } from './mount-spec.js';
import { ANONYMOUS_LABEL, cloneSource, newVolume } from './volume-options.js';

const log = logger('docker');
const MAX_MOUNTS = 100;

/** The volumes of an engine. */
export class VolumeService {
  /** By container, the removal of its anonymous volumes while that is under way. */
  private readonly removing = new Map<string, Promise<void>>();

  /** Labels of the volume stores. */
  private readonly stores: string[];

  constructor(
    private readonly store: VolumeStore,
    private readonly exec: Pick<ExecService, 'list' | 'resolve'>,
    private readonly events: Pick<EventBus, 'publish'>,
    config: VchConfig,
    private readonly life: Pick<VolumeLifeStore, 'clone'>,
  ) {
    this.stores = storeLabels(config);
  }

  /** The path of a volume, as vSphere writes it. */
  sourceOf = (name: string): string => this.store.placeOf(name);

  list(): VolumeInfo[] {
    return this.store.list();
  }

  /** @throws notFound in Docker's words */
  get(name: string): VolumeInfo {
    const volume = this.store.get(name);
    if (volume === undefined) throw notFound(`get ${name}: no such volume`);
    return volume;
  }

  /** The ids of the containers that use a volume. */
  usersOf(name: string): string[] {
    return this.exec
      .list()
      .filter(({ spec }) => (spec.volumes ?? []).some(({ volume }) => volume === name))
      .map(({ spec }) => spec.id);
  }

  /**
   * Makes a volume, or returns the one that already has this name. Without a name it is anonymous.
   * @throws invalid, notFound, unsupported in Docker's words
   */
  async create(
    name: string,
    driver: string,
    options: Record<string, string> | null,
    labels: Record<string, string> | null,
    content: { layer: string | null; path: string } | null = null,
    signal?: AbortSignal,
  ): Promise<{ volume: VolumeInfo; made: boolean }> {
    const known = name === '' ? undefined : this.store.get(name);
    if (known !== undefined) {
      if (driver !== '' && driver !== known.driver) this.checkDriver(name, driver, known);
      if (content !== null) await this.store.populate(name, content, signal);
      return { volume: known, made: false };
    }
    const chosen = name === '' ? newId() : name;
    const marked = name === '' ? { ...labels, [ANONYMOUS_LABEL]: '' } : labels;
    const source = cloneSource(options ?? {});
    if (source !== null) return { volume: await this.clone(chosen, driver, options, marked, source), made: true };
    const volume = await this.store.create(newVolume(chosen, driver, options, marked, this.stores), content, signal);
    this.events.publish('volume', 'create', chosen, { driver: volume.driver });
    return { volume, made: true };
  }

  /**
   * Makes a volume with the content of another one. @param source its name, or `name@snapshot`
   * @throws invalid, notFound, conflict in Docker's words
   */
  async clone(
    name: string,
    driver: string,
    options: Record<string, string> | null,
    labels: Record<string, string> | null,
    source: string,
  ): Promise<VolumeInfo> {
    const at = source.indexOf('@');
    const from = at < 0 ? { volume: source } : { volume: source.slice(0, at), snapshot: source.slice(at + 1) };
    this.get(from.volume);
    const { store = '', ...wanted } = newVolume(name, driver, options, labels, this.stores);
    const asked = Object.keys(options ?? {}).some((option) => option.toLowerCase() === 'volumestore');
    const volume = await this.life.clone({ ...wanted, ...(asked ? { store } : {}) }, from);
    this.events.publish('volume', 'create', name, { driver: volume.driver });
    return volume;
  }

  /** Makes a volume in another way. @throws invalid in Docker's words */
  async import(
    { name, driver, options, labels }: Pick<NewVolume, 'name' | 'driver' | 'options' | 'labels'>,
    make: (volume: NewVolume) => Promise<VolumeInfo>,
  ): Promise<VolumeInfo> {
    const volume = await make(newVolume(name, driver, options, labels, this.stores));
    this.events.publish('volume', 'create', name, { driver: volume.driver });
    return volume;
  }

  /** @throws conflict in Docker's words; notFound for a driver that does not exist */
  private checkDriver(name: string, driver: string, known: VolumeInfo): void {
    newVolume(name, driver, null, null);
    throw conflict(`create ${name}: conflict: volume name must be unique: "${name}" is of driver ${known.driver}`);
  }

  /** @throws notFound, conflict in Docker's words */
  async remove(name: string): Promise<void> {
    const { driver } = this.get(name);
    const users = this.usersOf(name);
    if (users.length > 0) throw conflict(`remove ${name}: volume is in use - [${users.join(', ')}]`);
    await this.store.remove(name);
    this.events.publish('volume', 'destroy', name, { driver });
  }

  /**
   * Makes the volumes that a create request asks for, and adds the mounts to the container's spec.
   * @throws invalid, unavailable, notFound, unsupported in Docker's words, after removing the anonymous volumes that it made
   */
  async prepare(request: CreateBody, spec: ContainerSpec, signal?: AbortSignal): Promise<ContainerSpec> {
    const wanted = this.wanted(request, recordOf({ spec }).config.Volumes ?? {});
    const made: string[] = [];
    const mounts: MountPoint[] = [];
    checkCount(wanted);
    try {
      for (const one of wanted) {
        if (!('target' in one)) {
          mounts.push(one);
          continue;
        }
        const mount = await this.mount(one, spec, made, signal);
        mounts.push(mount);
      }
      return withMounts(spec, mounts);
    } catch (error) {
      await this.discard(made);
      throw error;
    }
  }

  /** Removes the anonymous volumes of a container that could not be created. */
  async discardOf(spec: ContainerSpec): Promise<void> {
    await this.discard(recordOf({ spec }).mounts.flatMap(({ anonymous, name }) => (anonymous ? [name] : [])));
  }

  /**
   * Removes the anonymous volumes of a removed container, except those that another container uses. They leave the list at once.
   * @returns resolves when their files are gone too
   */
  removeWith(container: ContainerInfo): Promise<void> {
    const { id } = container.spec;
    const running = this.removing.get(id);
    if (running !== undefined) return running;
    const names = recordOf(container).mounts.flatMap(({ anonymous, name }) =>
      anonymous && this.store.get(name) !== undefined && this.usersOf(name).every((user) => user === id) ? [name] : [],
    );
    const removal = Promise.all(
      names.map(async (name) => {
        const { driver } = this.get(name);
        const removed = this.store.remove(name);
        this.events.publish('volume', 'destroy', name, { driver });
        await removed.catch((error: unknown) =>
          log.warn(
            { volume: name, err: messageOf(error) },
            'an anonymous volume of a removed container could not be removed',
          ),
        );
      }),
    )
      .then(() => undefined)
      .finally(() => this.removing.delete(id));
    this.removing.set(id, removal);
    return removal;
  }

  /** Resolves when the files of a removed container's volumes are gone. */
  async removed(id: string): Promise<void> {
    await this.removing.get(id);
  }

  private async discard(names: string[]): Promise<void> {
    for (const name of names)
      await this.remove(name).catch((error: unknown) =>
        log.debug({ volume: name, err: messageOf(error) }, 'an anonymous volume could not be removed'),
      );
  }

  /** Checks all mounts that are asked for, those of other containers and the request's own, without making anything. */
  private wanted({ HostConfig: host }: CreateBody, configured: Record<string, object>): (WantedMount | MountPoint)[] {
    const driver = host?.VolumeDriver ?? '';
    const all = new Map<string, WantedMount | MountPoint>();
    for (const text of host?.VolumesFrom ?? [])
      for (const mount of this.mountsFrom(text)) all.set(mount.destination, mount);
    const own = new Set<string>();
    const add = (mount: WantedMount, called: string, taken: boolean): void => {
      if (taken || own.has(mount.target)) throw invalid(`Duplicate mount point: ${called}`);
      own.add(mount.target);
      all.set(mount.target, mount);
    };
    const tmpfs = host?.Tmpfs ?? {};
    for (const text of host?.Binds ?? []) {
      const mount = parseBind(text, driver);
      add(mount, mount.target, Object.hasOwn(tmpfs, mount.target));
    }
    for (const given of host?.Mounts ?? []) add(parseMount(given), given.Target ?? '', false);
    for (const path of Object.keys(configured)) {
      const mount = parseConfigured(path, driver);
      // An explicit mount on the same path takes precedence.
      if (!all.has(mount.target) && !Object.hasOwn(tmpfs, mount.target)) all.set(mount.target, mount);
    }
    if (all.size > MAX_MOUNTS) throw invalid(`too many mounts: ${all.size}`);
    return [...all.values()];
  }

  /** @throws invalid in Docker's words */
  private mountsFrom(text: string): MountPoint[] {
    const { reference, readOnly } = parseVolumesFrom(text);
    let source: ContainerInfo;
    try {
      source = this.exec.resolve(reference);
    } catch (error) {
      throw new CaissonError('invalid', dockerMessage(error), { cause: error });
    }
    return recordOf(source).mounts.map(({ unsourced: _, fill: _fill, ...mount }) => ({
      ...mount,
      mode: '',
      rw: mount.rw && !readOnly,
    }));
  }

  private async mount(
    wanted: WantedMount,
    spec: ContainerSpec,
    made: string[],
    signal?: AbortSignal,
  ): Promise<MountPoint> {
    const { type, source, target, mode, readOnly, copy, driver, options, labels, subpath, tmpfs, configured } = wanted;
    const common = { destination: target, rw: !readOnly };
    if (type === 'tmpfs') return { ...common, type, name: '', driver: '', mode: '', anonymous: false, tmpfs };
    const content = copy && subpath === '' ? { layer: spec.layer, path: posix.resolve('/', target) } : null;
    const { volume } = await this.create(source, driver, options, labels, content, signal);
    if (source === '') made.push(volume.name);
    return {
      ...common,
      type,
      name: volume.name,
      driver: volume.driver,
      mode: mode === '' && !configured ? 'z' : mode,
      anonymous: source === '',
      ...(configured ? { unsourced: true } : {}),
      ...(subpath === '' ? {} : { subpath }),
      ...(content !== null && volume.mount !== undefined ? { fill: true } : {}),
    };
  }
}

/** Checked before any volume is made. @throws invalid when there are more than a VM can have */
function checkCount(wanted: (WantedMount | MountPoint)[]): void {
  const volumes = wanted
    .filter(({ type }) => type === 'volume')
    .map((one, index) => ('target' in one ? one.source || `${index} without a name` : one.name))
    .map((volume) => ({ volume, path: '/', readOnly: false }));
  volumeDisks({ volumes });
}
