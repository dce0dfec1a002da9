/** For suites of the image service: each test has one of its own, and leaves no file in its spool directory. */
import { afterEach, beforeEach, expect } from 'vitest';
import { ImageHarness } from './harness.js';

/** To be called at the top of a test file. @returns a function that gives the running test's harness */
export function eachWithHarness(): () => ImageHarness {
  let harness: ImageHarness;
  beforeEach(async () => {
    harness = await ImageHarness.open();
  });
  afterEach(async () => {
    try {
      expect(await harness.spooled()).toEqual([]);
    } finally {
      await harness.close();
    }
  });
  return () => harness;
}
