/** What the engine knows of a container besides its virtual machine: whether it is about to be restarted, and its health. */
import type { HealthState } from '../health/health-state.js';

export interface ContainerLife {
  /** It has ended and will be started again after a pause. Docker calls it running meanwhile. */
  restarting: boolean;
  restartCount: number;
  /** null: it has no health check, or never ran. */
  health: HealthState | null;
}

/** The life of a container without restart policy and health check. */
export const PLAIN_LIFE: ContainerLife = { restarting: false, restartCount: 0, health: null };
