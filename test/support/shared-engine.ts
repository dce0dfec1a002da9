/** One engine for all tests of a file, or of a `describe`. */
import { afterAll, afterEach, beforeAll } from 'vitest';
import { startTestEngine, type TestEngine } from './docker-engine.js';
import { USAGE } from './fake-observe.js';

/** Starts it before the tests, removes containers after each, and stops it at the end. Call it where hooks may be set. */
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
  // The engine does not exist yet when this returns.
  return new Proxy({} as TestEngine, { get: (_, key) => Reflect.get(engine, key) });
}
