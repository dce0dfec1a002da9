/** A stack with its own registry, which has test images under unqualified names. */
import { type TestImageName, testImage } from './registry/images.js';
import { startRegistry, type TestRegistry } from './registry/registry.js';
import { type Stack, startStack } from './stack.js';

/** Stopped like a stack; the registry is stopped with it. */
export interface MirroredStack extends Stack {
  readonly registry: TestRegistry;
}

/** Starts both. @param images that the registry has, as `library/<name>:latest` */
export async function startMirroredStack(
  images: readonly TestImageName[],
  options: { stateDir?: string; createOptions?: string[]; hostdOptions?: string[] } = {},
): Promise<MirroredStack> {
  const registry = await startRegistry();
  try {
    for (const name of images) await registry.push(await testImage(name), `library/${name}:latest`);
    const stack = await startStack({ ...options, mirror: registry.address });
    const { stop } = stack;
    return Object.assign(stack, {
      registry,
      stop: () => stop().finally(() => registry.stop()),
    });
  } catch (error) {
    await registry.stop();
    throw error;
  }
}
