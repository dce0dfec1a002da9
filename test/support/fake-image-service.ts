/** An image service for tests of its users: images in memory, pulled from nowhere. */
import { EventEmitter } from 'node:events';
import { Readable } from 'node:stream';
import { familiarName } from '../../appliance/image/reference.js';
import type {
  CommitOptions,
  DistributionInfo,
  Image,
  ImageConfig,
  ImageDeletion,
  ImageEvent,
  ImageService,
  ImportOptions,
  LoadOptions,
  PullOptions,
  PushOptions,
  RegistryAuth,
  SearchResult,
} from '../../appliance/image/types.js';
import { CaissonError, conflict, notFound } from '../../src/common/errors.js';
import { sha256 } from '../../src/common/ids.js';

/** An image with one layer. */
export function fakeImage(name: string, config: ImageConfig['config'] = {}): Image {
  const image: ImageConfig = {
    created: '2024-05-01T10:00:00.123456789Z',
    architecture: 'amd64',
    os: 'linux',
    config,
    rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(`layer of ${name}`)}`] },
    history: [{ created: '2024-05-01T10:00:00Z', created_by: `made for ${name}` }],
  };
  const rawConfig = Buffer.from(JSON.stringify(image));
  return {
    id: `sha256:${sha256(rawConfig)}`,
    config: image,
    rawConfig,
    parent: null,
    taggedAt: null,
    repoTags: [name],
    repoDigests: [`${name.split(':')[0]}@sha256:${sha256(`manifest of ${name}`)}`],
    chainIds: image.rootfs.diff_ids,
    layerSizes: [1234],
    size: 1234,
  };
}

async function bytesOf(stream: Readable): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** Knows the images that it is created with. A pull finds those in `registry`. */
export class FakeImageService implements ImageService {
  private readonly events = new EventEmitter<{ event: [ImageEvent] }>();
  readonly registry = new Map<string, Image>();
  readonly pulls: { reference: string; options: PullOptions }[] = [];

  constructor(private images: Image[]) {}

  list(): Image[] {
    return [...this.images];
  }

  resolve(reference: string): Image {
    const name = /:[^/]*$|@/.test(reference) ? reference : `${reference}:latest`;
    const found = this.images.find(
      (image) =>
        image.repoTags.includes(name) ||
        image.repoDigests.includes(reference) ||
        image.id === reference ||
        (/^[0-9a-f]{4,}$/.test(reference) && image.id.startsWith(`sha256:${reference}`)),
    );
    if (found === undefined) throw notFound(`No such image: ${name}`);
    return found;
  }

  async pull(reference: string, options: PullOptions): Promise<Image> {
    this.pulls.push({ reference, options });
    const image = this.registry.get(reference);
    if (image === undefined)
      throw notFound(
        `pull access denied for ${reference.split(':')[0]}, repository does not exist or may require 'docker login': denied: requested access to the resource is denied`,
      );
    options.progress({ status: `Pulling from ${reference}`, id: 'latest' });
    if (image.size < 0) throw conflict('broken in the middle');
    options.progress({ status: `Status: Downloaded newer image for ${reference}` });
    this.images.push(image);
    this.emit('pull', image, reference);
    return image;
  }

  async pullAll(repository: string, options: PullOptions): Promise<void> {
    for (const name of this.registry.keys()) if (name.startsWith(`${repository}:`)) await this.pull(name, options);
  }

  /** What a search finds. */
  readonly found: SearchResult[] = [];

  async search(term: string, { limit }: { limit: number }): Promise<SearchResult[]> {
    return this.found.filter(({ name }) => name.includes(term)).slice(0, limit);
  }

  async distribution(reference: string): Promise<DistributionInfo> {
    const image = this.registry.get(reference);
    if (image === undefined) throw notFound('manifest unknown');
    const platforms = [{ os: 'linux', architecture: 'arm', variant: 'v7' }];
    return { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: image.id, size: 3, platforms };
  }

  readonly pushes: string[] = [];

  async push(reference: string, options: PushOptions): Promise<void> {
    options.progress({ status: `The push refers to repository [${reference}]` });
    if (!this.images.some(({ repoTags }) => repoTags.includes(reference)))
      throw notFound(`An image does not exist locally with the tag: ${reference}`);
    this.pushes.push(reference);
    options.progress({ status: 'latest: digest: sha256:1 size: 2' });
  }

  private emit(action: ImageEvent['action'], image: Image, name: string): void {
    this.events.emit('event', { action, id: image.id, name, labels: image.config.config.Labels ?? {} });
  }

  async tag(source: string, target: string): Promise<void> {
    const image = this.resolve(source);
    const name = /:[^/]*$/.test(target) ? target : `${target}:latest`;
    image.repoTags = [...image.repoTags, name].sort();
    this.emit('tag', image, name);
  }

  /** Commits so far. */
  readonly commits: CommitOptions[] = [];

  async commit(options: CommitOptions): Promise<Image> {
    options.layer.destroy();
    this.commits.push(options);
    const name = options.reference === null ? '' : `${familiarName(options.reference)}:${options.reference.tag}`;
    const image = fakeImage(name, options.config as ImageConfig['config']);
    this.images.push({ ...image, repoTags: name === '' ? [] : [name] });
    this.emit('create', image, image.id);
    return image;
  }

  /** Bytes of archives that were loaded and imported. */
  readonly archives: Buffer[] = [];

  async load(tar: Readable, options: LoadOptions): Promise<void> {
    this.archives.push(await bytesOf(tar));
    options.said('Loaded image: loaded:latest\n');
  }

  save(names: string[]): Readable {
    return Readable.from([Buffer.from(names.map((name) => this.resolve(name).id).join())]);
  }

  /** What servers answer. */
  readonly downloads = new Map<string, Buffer>();

  async download(url: URL): Promise<{ body: Readable; size: number }> {
    const body = this.downloads.get(url.href);
    if (body === undefined) throw new CaissonError('unavailable', 'Got HTTP status code >= 400: 404 Not Found');
    return { body: Readable.from([body]), size: body.length };
  }

  readonly imports: ImportOptions[] = [];

  async import(tar: Readable, options: ImportOptions): Promise<Image> {
    this.archives.push(await bytesOf(tar));
    this.imports.push(options);
    const image = fakeImage('imported', options.config as ImageConfig['config']);
    this.images.push(image);
    this.emit('import', image, image.id);
    return image;
  }

  async remove(
    reference: string,
    options: { force: boolean; usedBy(imageId: string): { id: string; running: boolean }[] },
  ): Promise<ImageDeletion[]> {
    const image = this.resolve(reference);
    const [user] = options.usedBy(image.id);
    if (user !== undefined && !options.force)
      throw conflict(
        `conflict: unable to remove repository reference "${reference}" (must force) - container ${user.id.slice(0, 12)} is using its referenced image ${image.id.slice(7, 19)}`,
      );
    this.images = this.images.filter((one) => one !== image);
    this.emit('untag', image, image.repoTags[0] ?? '');
    this.emit('delete', image, image.id);
    return [...image.repoTags.map((tag) => ({ Untagged: tag })), { Deleted: image.id }];
  }

  login(_auth: RegistryAuth): Promise<string> {
    return Promise.resolve('Login Succeeded');
  }

  onEvent(listener: (event: ImageEvent) => void): () => void {
    this.events.on('event', listener);
    return () => this.events.off('event', listener);
  }
}
