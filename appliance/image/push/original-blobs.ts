/**
 * Gets a layer's blob from the registry that it once came from, so that it goes to another one with the same digest: what others compressed
 * cannot be made again from the layer's tar. Asked without credentials, because those of a push are for the registry that it goes to.
 */
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../../src/common/errors.js';
import { shortId } from '../../../src/common/ids.js';
import { logger } from '../../../src/common/log.js';
import { downloadBlob } from '../blob-download.js';
import type { HttpClient } from '../http.js';
import { RegistryClient } from '../registry-client.js';
import type { RegistryEndpoint, RegistryEndpoints } from '../registry-endpoints.js';
import type { ProgressMessage } from '../types.js';
import type { ImageWork } from '../work.js';
import type { BlobSource } from './blob-sources.js';
import type { LocalBlob } from './blob-upload.js';

const log = logger('image');
/** A registry that does not answer within this time is not waited for: the layer can be compressed anew. */
const ANSWER_MS = 5_000;

export interface OriginalsContext {
  http: HttpClient;
  endpoints: RegistryEndpoints;
  work: Pick<ImageWork, 'spoolDir' | 'room'>;
  retryDelayMs: number;
}

/** For one push, which asks a registry that does not answer only once. */
export class OriginalBlobs {
  readonly #answers = new Map<string, Promise<boolean>>();

  constructor(private readonly context: OriginalsContext) {}

  /**
   * The blob in a local file, verified; the caller removes it. Null if it cannot be had.
   * @throws cancelled
   */
  async fetch(
    source: BlobSource,
    progress: (message: ProgressMessage) => void,
    signal: AbortSignal,
  ): Promise<LocalBlob | null> {
    const { digest, size, repository } = source;
    const { work, http, retryDelayMs } = this.context;
    for (const endpoint of this.#endpointsOf(source.registry)) {
      const path = join(work.spoolDir, `push-${shortId(digest)}-${randomBytes(6).toString('hex')}.blob`);
      try {
        if (!(await this.#answering(endpoint, repository, signal))) continue;
        const client = new RegistryClient(http, endpoint, repository, {});
        const grow = work.room?.growing(false);
        const descriptor = { digest, size, mediaType: source.mediaType };
        await downloadBlob({ client, descriptor, path, signal, emit: progress, retryDelayMs, grow });
        return { path, digest, size };
      } catch (error) {
        await rm(path, { force: true });
        if (signal.aborted) throw error;
        log.info({ digest, from: endpoint.url, reason: messageOf(error) }, 'not fetched from where it came from');
      }
    }
    return null;
  }

  #endpointsOf(registry: string): RegistryEndpoint[] {
    const { endpoints } = this.context;
    // An administrator may not allow it any more.
    return [...endpoints.mirrorsOf(registry), ...(endpoints.allows(registry) ? endpoints.of(registry) : [])];
  }

  /** Whether there is a registry, asked once for each. */
  #answering(endpoint: RegistryEndpoint, repository: string, signal: AbortSignal): Promise<boolean> {
    let answer = this.#answers.get(endpoint.url);
    if (answer === undefined) {
      const soon = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
      answer = new RegistryClient(this.context.http, endpoint, repository, {}).ping(soon).then(
        () => true,
        (error: unknown) => {
          log.info({ registry: endpoint.url, reason: messageOf(error) }, 'original layers cannot be had from there');
          return false;
        },
      );
      this.#answers.set(endpoint.url, answer);
    }
    return answer;
  }
}
