/** One engine for all tests of a file, or of a `describe`. */
import { afterAll, afterEach, beforeAll } from 'vitest';
import { startTestEngine, type TestEngine } from './docker-engine.js';
import { USAGE } from './fake-observe.js';

/** Starts it before the tests and ends it after them; its containers are removed after each. To be called where hooks are set. */
export function sharedEngine(): TestEngine {
  let engine: TestEngine;
  beforeAll(async () => {
    engine = await startTestEngine();
  });
  afterEach(async () => {
    const { exec, observe } = engine.portLayer;
    for (const { spec } of exec.list()) await exec.remove(spec.id, { force: true });
    observe.usage = USAGE;
  });
  afterAll(() => engine.close());
  // It is not there yet when it is given out.
  return new Proxy({} as TestEngine, { get: (_, key) => Reflect.get(engine, key) });
}
