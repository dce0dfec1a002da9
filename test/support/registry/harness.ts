/** An image service over in-memory stores, with its own spool directory. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ImageServiceOptions, type OpenImageService, openImageService } from '../../../appliance/image/index.js';
import type { ImageEvent, ProgressMessage, PullOptions } from '../../../appliance/image/types.js';
import { MemoryKeyValueStore, MemoryLayerStore } from './memory-stores.js';

/** Nothing in a test takes this long, not even on a busy machine. */
const PATIENT = { connect: 60_000, headers: 60_000, idle: 60_000 };

/** Owns everything that a test of the image service needs; `close()` it. */
export class ImageHarness {
  readonly layers = new MemoryLayerStore();
  readonly kv = new MemoryKeyValueStore();
  readonly events: ImageEvent[] = [];
  service!: OpenImageService;
  #directory = '';

  static async open(registry: Partial<ImageServiceOptions['registry']> = {}): Promise<ImageHarness> {
    const harness = new ImageHarness();
    harness.#directory = await mkdtemp(join(tmpdir(), 'caisson-images-'));
    await harness.reopen(registry);
    return harness;
  }

  /** A new service over the same stores, as after a restart. */
  async reopen(
    registry: Partial<ImageServiceOptions['registry']> = {},
    timeouts: Partial<typeof PATIENT> = {},
  ): Promise<void> {
    await this.service?.close();
    this.service = await openImageService({
      layers: this.layers,
      kv: this.kv,
      registry: { mirrors: [], insecure: [], certificateAuthorities: [], ...registry },
      spoolDir: this.spoolDir,
      retryDelayMs: 10,
      timeouts: { ...PATIENT, ...timeouts },
    });
    this.service.onEvent((event) => this.events.push(event));
  }

  get spoolDir(): string {
    return join(this.#directory, 'spool');
  }

  spooled(): Promise<string[]> {
    return readdir(this.spoolDir);
  }

  /** Pulls, and returns the progress too. */
  async pull(reference: string, options: Partial<PullOptions> = {}) {
    const messages: ProgressMessage[] = [];
    const image = await this.service.pull(reference, { ...options, progress: (message) => messages.push(message) });
    return { image, messages, statuses: messages.map(({ status }) => status) };
  }

  async close(): Promise<void> {
    await this.service.close();
    await rm(this.#directory, { recursive: true, force: true });
  }
}
