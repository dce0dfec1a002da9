/** How much disk containers take. */
import type { ContainerInfo, FileService } from '../../../port-layer/index.js';
import { messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { Semaphore } from '../../../src/common/semaphore.js';
import { within } from '../../../src/common/within.js';
import type { ContainerImages } from '../images/container-images.js';

const log = logger('docker');
/** Containers that are measured at the same time, not counting slow ones. */
const AT_ONCE = 4;
/** A container that takes longer than this lets the next one begin. */
const TURN_MS = 1000;
/** Sizes that are remembered: more than an engine has containers. */
const MAX_KEPT = 10_000;

/** Measures containers, and remembers what was measured last. */
export class ContainerSizes {
  private readonly known = new Map<string, number>();
  /** Measurements under way; whoever asks meanwhile shares the result. */
  private readonly looks = new Map<string, { size: Promise<number>; stop: AbortController; askers: number }>();

  constructor(private readonly files: Pick<FileService, 'size'>) {}

  /**
   * Bytes that are new or changed; if they cannot be measured now, what was measured last, or 0.
   * @param signal the asker has gone; when all have, the measurement ends
   */
  async of(id: string, signal: AbortSignal): Promise<number> {
    let look = this.looks.get(id);
    if (look === undefined) {
      const stop = new AbortController();
      const begun = { size: this.look(id, stop.signal), stop, askers: 0 };
      look = begun;
      this.looks.set(id, look);
      const forget = (): void => {
        if (this.looks.get(id) === begun) this.looks.delete(id);
      };
      void begun.size.then(forget);
    }
    const { size, stop } = look;
    look.askers++;
    const leave = (): void => {
      signal.removeEventListener('abort', leave);
      if (--look.askers > 0) return;
      if (this.looks.get(id) === look) this.looks.delete(id);
      stop.abort();
    };
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    return size.finally(() => signal.removeEventListener('abort', leave));
  }

  private async look(id: string, signal: AbortSignal): Promise<number> {
    try {
      const size = await this.files.size(id, signal);
      if (this.known.size >= MAX_KEPT) this.known.clear();
      this.known.set(id, size);
      return size;
    } catch (error) {
      log.debug({ container: id, err: messageOf(error) }, 'a container could not be measured');
      return this.known.get(id) ?? 0;
    }
  }
}

/** What sizes of containers are told from. */
export interface SizeSources {
  sizes: Pick<ContainerSizes, 'of'>;
  containerImages: Pick<ContainerImages, 'of'>;
}

/** The bytes that are new or changed, and those of the image added. An image that has just been removed counts 0. */
export async function containerSize(
  { sizes, containerImages }: SizeSources,
  container: ContainerInfo,
  signal: AbortSignal,
): Promise<{ SizeRw: number; SizeRootFs: number }> {
  const image = containerImages.of(container)?.size ?? 0;
  const own = await sizes.of(container.spec.id, signal);
  return { SizeRw: own, SizeRootFs: image + own };
}

/** Rows of containers with their sizes. Like Docker, leaves sizes of 0 out. */
export async function withSizes(
  sources: SizeSources,
  containers: ContainerInfo[],
  signal: AbortSignal,
  row: (container: ContainerInfo) => object,
): Promise<object[]> {
  const atOnce = new Semaphore(AT_ONCE);
  const sized = async (container: ContainerInfo): Promise<object> => {
    if (signal.aborted) return row(container);
    const sizes = Object.entries(await containerSize(sources, container, signal)).filter(([, bytes]) => bytes > 0);
    return { ...row(container), ...Object.fromEntries(sizes) };
  };
  return await Promise.all(
    containers.map(async (container) => {
      let result: Promise<object> | undefined;
      await atOnce.run(async () => {
        result = sized(container);
        await within(result, TURN_MS, () => undefined);
      });
      return result!;
    }),
  );
}
