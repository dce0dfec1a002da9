/** What containers take on disk. */
import type { ContainerInfo, FileService } from '../../../port-layer/index.js';
import { messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { Semaphore } from '../../../src/common/semaphore.js';
import { within } from '../../../src/common/within.js';
import type { Engine } from '../engine.js';

const log = logger('docker');
/** Containers that are looked at side by side, not counting those that take long. */
const AT_ONCE = 4;
/** After this others have their turn too. */
const TURN_MS = 1000;
/** Sizes that are kept: more containers than an engine has. */
const MAX_KEPT = 10_000;

/** Sizes as they were told last. */
export class ContainerSizes {
  private readonly known = new Map<string, number>();
  /** Being looked at: who asks meanwhile is told the same. */
  private readonly looks = new Map<string, { size: Promise<number>; stop: AbortController; askers: number }>();

  constructor(private readonly files: Pick<FileService, 'size'>) {}

  /**
   * Bytes that are new or changed. What was told last, if the container's machine does not say it now; 0 if nothing was. @param signal who
   * asks does not want to know any more
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
      log.debug({ container: id, err: messageOf(error) }, 'the size of a container could not be told');
      return this.known.get(id) ?? 0;
    }
  }
}

/** Bytes that are new or changed, and those together with the image. One that goes away while it is looked at has none of its own. */
export async function containerSize(
  engine: Engine,
  container: ContainerInfo,
  signal: AbortSignal,
): Promise<{ SizeRw: number; SizeRootFs: number }> {
  const image = engine.containerImages.of(container)?.size ?? 0;
  const own = await engine.sizes.of(container.spec.id, signal);
  return { SizeRw: own, SizeRootFs: image + own };
}

/** Rows of containers with their sizes. As in Docker's rows, sizes of 0 are left out. */
export async function withSizes(
  engine: Engine,
  containers: ContainerInfo[],
  signal: AbortSignal,
  row: (container: ContainerInfo) => object,
): Promise<object[]> {
  const atOnce = new Semaphore(AT_ONCE);
  const sized = async (container: ContainerInfo): Promise<object> => {
    if (signal.aborted) return row(container);
    const sizes = Object.entries(await containerSize(engine, container, signal)).filter(([, bytes]) => bytes > 0);
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
