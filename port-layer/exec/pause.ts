/** Pausing a container: its VM is suspended in memory, and goes on from there. */
import { conflict, messageOf, unavailable } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { within } from '../../src/common/within.js';
import { lookOnce } from '../observe/observe.js';
import type { Container } from './container.js';
import type { ExecContext } from './context.js';
import type { VmObserver } from './vm-observer.js';

const log = logger('exec');
/** What the inventory has taken in is told within this. */
const SEEN_MS = 2000;
/** A guest that does not answer is suspended all the same. */
const LOOK_MS = 2000;

/** Suspends and resumes. Callers must hold the container ({@link Container.exclusive}). */
export class Pauser {
  constructor(
    private readonly context: ExecContext,
    private readonly observer: VmObserver,
  ) {}

  /** @throws conflict */
  async pause(container: Container): Promise<void> {
    if (!container.running || container.reportedExit !== null)
      throw conflict(`container ${container.id} is not running`);
    if (container.paused) throw conflict(`Container ${container.id} is already paused`);
    // Nobody can ask it afterwards.
    const seen = await lookOnce(container, AbortSignal.timeout(LOOK_MS)).catch((error: unknown) => {
      log.debug({ container: container.id, err: messageOf(error) }, 'a container is paused unseen');
      return null;
    });
    await this.context.client.runTask('SuspendVM_Task', container.vm, {});
    container.lastSeen = seen;
    await this.seen(container, true);
  }

  /** @throws unavailable when it is not paused */
  async unpause(container: Container): Promise<void> {
    if (!container.running || !container.paused) throw unavailable(`Container ${container.id} is not paused`);
    await this.context.client.runTask('PowerOnVM_Task', container.vm, {});
    await this.seen(container, false);
  }

  /** The inventory tells it; not for ever is it waited for. */
  private async seen(container: Container, paused: boolean): Promise<void> {
    const over = new AbortController();
    const told = new Promise<void>((resolve) => {
      const look = (): void => {
        if (container.paused === paused || !container.running) resolve();
      };
      container.on('suspended', look);
      container.once('exited', look);
      over.signal.addEventListener('abort', () => {
        container.off('suspended', look);
        container.off('exited', look);
      });
      look();
    });
    await within(told, SEEN_MS, () => undefined);
    over.abort();
    if (container.running && container.paused !== paused) this.observer.suspended(container, paused);
  }
}
