/** The speed of this machine's processors. */
import { cpus } from 'node:os';

/** In MHz. A machine that does not say is taken for one of 2 GHz. */
const MHZ = cpus()[0]?.speed || 2000;

export function cpuMhz(): number {
  return MHZ;
}
