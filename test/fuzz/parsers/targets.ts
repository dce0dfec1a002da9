/** All parsers that are fuzzed. */
import type { Target } from './engine.js';
import { protocolTargets } from './protocol-targets.js';
import { textTargets } from './text-targets.js';

export const parserTargets: readonly Target[] = [...protocolTargets, ...textTargets];
