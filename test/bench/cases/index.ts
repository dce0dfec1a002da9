/** The cases, measured end to end with the docker CLI. */
import type { BenchCase } from '../measure.js';
import { fileCases } from './files.js';
import { imageCases } from './images.js';
import { manyCases } from './many.js';
import { networkCases } from './networks.js';
import { runCases } from './run.js';
import { startupCases } from './startup.js';
import { streamCases } from './streams.js';
import { volumeCases } from './volumes.js';

export const cases: BenchCase[] = [
  ...runCases,
  ...imageCases,
  ...streamCases,
  ...fileCases,
  ...volumeCases,
  ...networkCases,
  ...manyCases,
  ...startupCases,
];
