/** The image side of the endpoint, as the Docker personality uses it. */
import type { Readable } from 'node:stream';
import type { Reference } from './reference.js';

/** The parts of an OCI/Docker image config that the engine acts on (image-spec config.md). */
export interface ImageConfig {
  created?: string;
  author?: string;
  /** Of an image that was committed: the id of the one it was made of. */
  parent?: string;
  comment?: string;
  docker_version?: string;
  /** '' when it is not named. */
  architecture: string;
  os: string;
  variant?: string;
  'os.version'?: string;
  /** What is shown of the container that an image of old was made of. */
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
  /** When it was last given a tag; a pull gives none in this sense. */
  taggedAt: Date | null;
  /** `127.0.0.1:5000/busybox@sha256:…` */
  repoDigests: string[];
  /** Chain ids of its layers, lowest first. */
  chainIds: string[];
  /** Their sizes in bytes, in the same order. */
  layerSizes: number[];
  /** Sum of its layers' sizes in bytes. */
  size: number;
}

/** A line of the pull stream, as Docker's JSON message stream has it. */
export interface ProgressMessage {
  status?: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
  progress?: string;
  error?: string;
  errorDetail?: { message: string; code?: number };
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
  /** `os/arch[/variant]`; default linux/amd64. */
  platform?: string;
  signal?: AbortSignal;
  progress(message: ProgressMessage): void;
}

/** An image to be made of a container. */
export interface CommitOptions {
  /** The image that the container stands on. */
  base: Image;
  /** What was changed since, as an uncompressed tar; nothing but the archive's end: no layer. Destroyed at the end. */
  layer: Readable;
  /** The image's `config`, and further members of its configuration document. */
  config: object;
  fields: Record<string, unknown>;
  author: string;
  comment: string;
  /** The command, for the history. */
  createdBy: string;
  /** With a tag; null: none. */
  reference: Reference | null;
  signal?: AbortSignal;
}

/** What `docker rmi` prints. */
export type ImageDeletion = { Untagged: string } | { Deleted: string };

export type ImageEvent = {
  action: 'pull' | 'create' | 'tag' | 'untag' | 'delete';
  id: string;
  name: string;
  labels: Record<string, string>;
};

export interface ImageService {
  list(): Image[];
  /** By reference, digest reference, id or id prefix. @throws notFound `No such image: …` in Docker's words */
  resolve(reference: string): Image;
  /** Pulls one reference (`name[:tag|@digest]`, tag default `latest`). @throws notFound, unauthorized, unavailable, invalid with Docker's words */
  pull(reference: string, options: PullOptions): Promise<Image>;
  tag(source: string, target: string): Promise<void>;
  /** Makes an image of a container. */
  commit(options: CommitOptions): Promise<Image>;
  /** @param usedBy ids of containers of an image, with whether each runs: decides the conflict message. */
  remove(
    reference: string,
    options: { force: boolean; noPrune: boolean; usedBy(imageId: string): { id: string; running: boolean }[] },
  ): Promise<ImageDeletion[]>;
  /** Checks credentials against a registry; resolves with the status text. */
  login(auth: RegistryAuth): Promise<string>;
  onEvent(listener: (event: ImageEvent) => void): () => void;
}
