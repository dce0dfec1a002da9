/** Takes down the VM of a container that is already gone: nothing of it is kept, and nobody waits for it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isKind, messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { VimClient } from '../../src/vim25/index.js';
import type { Container } from './container.js';

const log = logger('exec');
/** How often to try, with growing pauses. */
const ATTEMPTS = 6;
const PAUSE_MS = 200;

/** Powers off and destroys. Never throws: a restarted endpoint finds and removes what is left. */
export async function destroyAbandoned(client: VimClient, { id, vm }: Container): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await client.runTask('PowerOffVM_Task', vm, {}).catch((error: unknown) => {
        // It may be off, or powering off right now.
        if (!isKind(error, 'conflict')) throw error;
      });
      await client.runTask('Destroy_Task', vm, {});
      return;
    } catch (error) {
      if (isKind(error, 'notFound')) return;
      if (attempt === ATTEMPTS) {
        log.error({ container: id, err: messageOf(error) }, 'the VM of a removed container stays');
        return;
      }
      await sleep(attempt * PAUSE_MS);
    }
  }
}
