/** What containers take on disk. */
import type { ContainerInfo } from '../../port-layer/types.js';
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { Semaphore } from '../../src/common/semaphore.js';
import type { Engine } from './engine.js';

const log = logger('docker');
/** Containers that are looked at side by side. */
const AT_ONCE = 4;

/** Bytes that are new or changed, and those together with the image. One that goes away while it is looked at has none of its own. */
export async function containerSize(
  engine: Engine,
  container: ContainerInfo,
  signal: AbortSignal,
): Promise<{ SizeRw: number; SizeRootFs: number }> {
  const image = engine.imageOf(container)?.size ?? 0;
  try {
    const own = await engine.portLayer.files.size(container.spec.id, signal);
    return { SizeRw: own, SizeRootFs: image + own };
  } catch (error) {
    log.debug({ container: container.spec.id, err: messageOf(error) }, 'the size of a container could not be told');
    return { SizeRw: 0, SizeRootFs: image };
  }
}

/** Rows of containers with their sizes. As in Docker's rows, sizes of 0 are left out. */
export async function withSizes(
  engine: Engine,
  containers: ContainerInfo[],
  signal: AbortSignal,
  row: (container: ContainerInfo) => object,
): Promise<object[]> {
  const atOnce = new Semaphore(AT_ONCE);
  return await Promise.all(
    containers.map((container) =>
      atOnce.run(async () => {
        if (signal.aborted) return row(container);
        const sizes = Object.entries(await containerSize(engine, container, signal)).filter(([, bytes]) => bytes > 0);
        return { ...row(container), ...Object.fromEntries(sizes) };
      }),
    ),
  );
}
