/** All subjects of the differential suite. */
import type { Subject } from '../case.js';
import { attach } from './attach.js';
import { dns } from './dns.js';
import { errors } from './errors.js';
import { events } from './events.js';
import { exec } from './exec.js';
import { files } from './files.js';
import { firstProcess } from './first-process.js';
import { imageChange } from './image-change.js';
import { imageList } from './image-list.js';
import { imageViews } from './image-views.js';
import { images } from './images.js';
import { inspect } from './inspect.js';
import { json } from './json.js';
import { lifecycle } from './lifecycle.js';
import { logs } from './logs.js';
import { membership } from './membership.js';
import { networks } from './networks.js';
import { observe } from './observe.js';
import { options } from './options.js';
import { publishedPorts } from './ports.js';
import { ps } from './ps.js';
import { pushes } from './pushes.js';
import { runs } from './run.js';
import { states } from './states.js';
import { system } from './system.js';
import { volumeCalls } from './volume-calls.js';
import { volumes } from './volumes.js';

export const SUBJECTS: Subject[] = [
  runs,
  firstProcess,
  options,
  ps,
  publishedPorts,
  dns,
  inspect,
  lifecycle,
  states,
  logs,
  exec,
  attach,
  files,
  volumes,
  volumeCalls,
  networks,
  membership,
  images,
  imageList,
  imageViews,
  imageChange,
  pushes,
  events,
  observe,
  system,
  errors,
  json,
];
