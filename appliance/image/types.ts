/** The endpoint's images, as the Docker personality uses them. */
import type { Readable } from 'node:stream';
import type { Platform } from './platform.js';
import type { Reference } from './reference.js';

/** The parts of an image configuration that the engine acts on (image-spec config.md). */
export interface ImageConfig {
  created?: string;
  author?: string;
  /** For a committed image, the id of the image that its container was based on. */
  parent?: string;
  comment?: string;
  docker_version?: string;
  /** '' if it is not named. */
  architecture: string;
  os: string;
  variant?: string;
  'os.version'?: string;
  'os.features'?: string[];
  /** The container that the image was made from, of a committed or an old image. */
  container?: string;
  container_config?: object;
  config: {
    User?: string;
    ExposedPorts?: Record<string, object>;
    Env?: string[];
    Entrypoint?: string[] | null;
    Cmd?: string[] | null;
    Volumes?: Record<string, object>;
    WorkingDir?: string;
    Labels?: Record<string, string>;
    StopSignal?: string;
    Healthcheck?: {
      Test?: string[];
      Interval?: number;
      Timeout?: number;
      StartPeriod?: number;
      StartInterval?: number;
      Retries?: number;
    };
    Shell?: string[];
    ArgsEscaped?: boolean;
    OnBuild?: string[];
  };
  rootfs: { type: string; diff_ids: string[] };
  history?: { created?: string; created_by?: string; author?: string; comment?: string; empty_layer?: boolean }[];
}

/** A stored image. */
export interface Image {
  /** `sha256:…` of the config blob. */
  id: string;
  config: ImageConfig;
  /** The config blob, byte for byte. */
  rawConfig: Buffer;
  /** Familiar form: `busybox:latest`, `127.0.0.1:5000/busybox:latest`. Sorted. */
  repoTags: string[];
  /** The id of the image that it was committed from, if that is still here. */
  parent: string | null;
  /** When a user last gave it a tag; a pull does not count. */
  taggedAt: Date | null;
  /** `127.0.0.1:5000/busybox@sha256:…` */
  repoDigests: string[];
  /** Chain ids of its layers, lowest first. */
  chainIds: string[];
  /** Their sizes in bytes, in the same order. */
  layerSizes: number[];
  /** Bytes of the blob that is kept with each of them; undefined: none is. */
  blobSizes?: number[];
  /** Sum of its layers' sizes in bytes. */
  size: number;
}

/** A line of a pull's output, as in Docker's JSON message stream. */
export interface ProgressMessage {
  status?: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
  progress?: string;
  error?: string;
  errorDetail?: { message: string; code?: number };
  /** For programs: what a push has stored. */
  aux?: { Tag: string; Digest: string; Size: number };
}

/** Credentials of an `X-Registry-Auth` header. */
export interface RegistryAuth {
  username?: string;
  password?: string;
  auth?: string;
  identitytoken?: string;
  registrytoken?: string;
  serveraddress?: string;
}

export interface PullOptions {
  auth?: RegistryAuth;
  /** `os/arch[/variant]`; the default is linux/amd64. */
  platform?: string;
  signal?: AbortSignal;
  progress(message: ProgressMessage): void;
}

/** An image to be made from a container. */
export interface CommitOptions {
  /** The image that the container is based on. */
  base: Image;
  /** The changes since, as an uncompressed tar. If it has only the archive's end, no layer is made. Destroyed at the end. */
  layer: Readable;
  /** The image's `config`, and further members of its configuration document. */
  config: object;
  fields: Record<string, unknown>;
  author: string;
  comment: string;
  /** The command, for the history. */
  createdBy: string;
  /** Includes a tag; null: no reference. */
  reference: Reference | null;
  signal?: AbortSignal;
}

export interface PushOptions {
  auth?: RegistryAuth;
  signal?: AbortSignal;
  progress(message: ProgressMessage): void;
}

/** An image that a search has found. */
export interface SearchResult {
  name: string;
  description: string;
  stars: number;
  official: boolean;
  automated: boolean;
}

/** What a registry has under a reference. */
export interface DistributionInfo {
  mediaType: string;
  digest: string;
  /** Bytes of the manifest or index. */
  size: number;
  /** Those it is for. */
  platforms: Platform[];
}

/** How images are loaded from an archive. */
export interface LoadOptions {
  /** Only images of this platform. */
  platform?: Platform;
  signal?: AbortSignal;
  /** Told how far each layer is. */
  progress?: (message: ProgressMessage) => void;
  /** Given what Docker prints, with its line ends. */
  said(text: string): void;
}

/** An image to be made from the archive of a root filesystem. */
export interface ImportOptions {
  /** The image's `config`, and further members of its configuration document. */
  config: object;
  fields: Record<string, unknown>;
  comment: string;
  platform?: Platform;
  /** Includes a tag; null: no reference. */
  reference: Reference | null;
  signal?: AbortSignal;
}

/** What `docker rmi` prints. */
export type ImageDeletion = { Untagged: string } | { Deleted: string };

export type ImageEvent = {
  action: 'pull' | 'create' | 'tag' | 'untag' | 'delete' | 'load' | 'save' | 'import' | 'push';
  id: string;
  name: string;
  labels: Record<string, string>;
};

export interface ImageService {
  list(): Image[];
  /** By reference, digest reference, id or id prefix. @throws notFound `No such image: …` in Docker's words */
  resolve(reference: string): Image;
  /** @throws unavailable, cancelled */
  search(term: string, options: { limit: number; auth?: RegistryAuth; signal?: AbortSignal }): Promise<SearchResult[]>;
  /** @throws notFound, unauthorized, unavailable, invalid */
  distribution(reference: string, options: { auth?: RegistryAuth; signal?: AbortSignal }): Promise<DistributionInfo>;
  /** Pulls all tags of a repository. @throws like `pull` */
  pullAll(repository: string, options: PullOptions): Promise<void>;
  /** Pulls one reference (`name[:tag|@digest]`, tag default `latest`). @throws notFound, unauthorized, unavailable, invalid with Docker's words */
  pull(reference: string, options: PullOptions): Promise<Image>;
  /**
   * Pushes one tag (`name:tag`), or all tags of a repository (`name`). An event `push` tells of the end.
   * @throws notFound, unauthorized, forbidden, unavailable, timeout, unsupported with Docker's words
   */
  push(reference: string, options: PushOptions): Promise<void>;
  tag(source: string, target: string): Promise<void>;
  /** Makes an image from a container. */
  commit(options: CommitOptions): Promise<Image>;
  /** Stores the images of an archive (a tar, uncompressed); those before a faulty one stay. @throws invalid, notFound, unsupported, insufficientResources */
  load(tar: Readable, options: LoadOptions): Promise<void>;
  /**
   * The archive of all images that `names` mean. The stream fails if a layer is damaged.
   * @throws notFound, invalid in Docker's words; unavailable for an image of another platform
   */
  save(names: string[], options: { platform?: Platform; signal?: AbortSignal }): Readable;
  /** What a server answers to a GET, and how many bytes it is if the server says so, else 0. @throws unavailable */
  download(url: URL, signal: AbortSignal): Promise<{ body: Readable; size: number }>;
  /** Makes an image from the archive (uncompressed) of a root filesystem. @throws invalid, insufficientResources */
  import(tar: Readable, options: ImportOptions): Promise<Image>;
  /** @param usedBy the containers of an image, and whether each is running: decides the message of a conflict. */
  remove(
    reference: string,
    options: { force: boolean; noPrune: boolean; usedBy(imageId: string): { id: string; running: boolean }[] },
  ): Promise<ImageDeletion[]>;
  /** Checks credentials with a registry; resolves with the status text. */
  login(auth: RegistryAuth): Promise<string>;
  onEvent(listener: (event: ImageEvent) => void): () => void;
}
