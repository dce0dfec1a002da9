/** How a prune tells what it does, and who may prune. */
import { conflict } from '../../../src/common/errors.js';

/** Told what a prune does. */
export interface PruneProgress {
  /** Something is gone. */
  deleted(id: string): void;
  /** Nobody listens any more: the rest stays. */
  over(): boolean;
}

/** Lets one prune of a kind run at a time. The function that it returns @throws conflict in Docker's words while one is running */
export function oneAtATime(): (body: () => Promise<void>) => Promise<void> {
  let busy = false;
  return async (body) => {
    if (busy) throw conflict('a prune operation is already running');
    busy = true;
    try {
      await body();
    } finally {
      busy = false;
    }
  };
}
