/** The speed of this machine's processors. */
import { cpus } from 'node:os';

/** In MHz. If the machine does not say, 2 GHz is assumed. */
const MHZ = cpus()[0]?.speed || 2000;

export function cpuMhz(): number {
  return MHZ;
}
