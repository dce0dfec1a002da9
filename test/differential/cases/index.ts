/** All subjects of the differential suite. */
import type { Subject } from '../case.js';
import { errors } from './errors.js';
import { inspect } from './inspect.js';
import { lifecycle } from './lifecycle.js';
import { observe } from './observe.js';
import { options } from './options.js';
import { ps } from './ps.js';
import { runs } from './run.js';
import { system } from './system.js';

export const SUBJECTS: Subject[] = [runs, options, ps, inspect, system, observe, errors, lifecycle];
