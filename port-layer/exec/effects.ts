/** Carries out what the events of a container's life call for (`container-next.ts`). */
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { Container } from './container.js';
import type { ContainerEffect, ContainerFacts } from './container-life.js';
import type { ExecContext } from './context.js';
import { change } from './handle.js';
import { keepsNothing } from './lasting-disks.js';
import { currentRecord, failedRecord, killedRecord, RUN_KEY, type RunRecord } from './run-record.js';
import type { ContainerEvent } from './types.js';
import { renewLimits } from './update.js';

const log = logger('exec');

/** What the rest of the exec component provides. */
export interface Hands {
  /** Lets frozen processes go on. */
  thaw(container: Container): void;
  /** Forgets a container and takes down its machine. */
  drop(container: Container): void;
  remove(container: Container): void;
  emit(event: ContainerEvent): void;
  /** True while the first picture of the inventory is being processed: what it shows happened earlier. */
  opening(): boolean;
}

/** See the file's head. */
export class Effects {
  constructor(
    private readonly context: ExecContext,
    private readonly hands: Hands,
  ) {}

  readonly carryOut = (container: Container, effect: ContainerEffect): void => {
    switch (effect.do) {
      case 'tell':
        this.tell(container, effect.of);
        break;
      case 'letGo':
        container.machine.closeChannel(effect.now);
        this.context.networks.places.rest(container.id);
        break;
      case 'keepEnd':
        this.keep(container, ({ life }) =>
          life.kind === 'exited' && life.run === effect.run ? killedRecord(effect.run) : null,
        );
        break;
      case 'keepFailure':
        this.keep(container, ({ life }) => (life === effect.rest ? failedRecord(effect.rest, new Date()) : null));
        break;
      case 'expectOff':
        container.machine.dispatch({ type: 'expect', what: 'guest' });
        if (this.isDisposable(container)) this.hands.drop(container);
        break;
      case 'goOn':
        if (effect.thaw) this.hands.thaw(container);
        renewLimits(container);
        break;
      case 'removeIfWished':
        this.removeIfWished(container);
    }
  };

  /** Removes a container whose run has ended, if it has --rm. */
  removeIfWished(container: Container): void {
    const { life, marked } = container.facts;
    if (!container.spec.autoRemove || marked || (life.kind === 'exited' && life.keep)) return;
    if (life.kind === 'exited' || life.kind === 'created') this.hands.remove(container);
  }

  /** Records the run in its current state with its machine. */
  keepRun(container: Container): Promise<void> {
    return this.write(container, currentRecord);
  }

  private keep(container: Container, recordOf: (facts: ContainerFacts) => RunRecord | null): void {
    if (container.spec.autoRemove || container.facts.marked) return;
    // Exclusive, so that a removal or another start waits for it.
    container
      .exclusive(() => this.write(container, recordOf))
      .catch((error: unknown) =>
        log.debug({ container: container.id, err: messageOf(error) }, 'the record of a run was not kept'),
      );
  }

  /** @param recordOf called at each attempt: if another run has begun in the meantime, that run's record must stay */
  private write(container: Container, recordOf: (facts: ContainerFacts) => RunRecord | null): Promise<void> {
    return change(this.context.client, container.vm, container.machine.changeVersion, (handle) => {
      const record = recordOf(container.facts);
      if (record !== null) handle.key(RUN_KEY, JSON.stringify(record));
    });
  }

  /** Its process has ended and nothing of its machine is kept, so it need not shut down in order, and nobody waits for it. */
  private isDisposable(container: Container): boolean {
    const { life, marked } = container.facts;
    if (!container.spec.autoRemove || marked || life.kind !== 'ending' || life.run.stop?.keep === true) return false;
    return keepsNothing(container, this.context.cache, true);
  }

  private tell(container: Container, of: Extract<ContainerEffect, { do: 'tell' }>['of']): void {
    const info = container.info();
    const { id } = container;
    const time = new Date();
    const { emit } = this.hands;
    switch (of) {
      case 'exited':
        log.info({ container: id, exitCode: info.exitCode }, 'container exited');
        emit({ type: of, container: info, exitCode: info.exitCode, time: info.finishedAt ?? time });
        return;
      case 'startFailed':
        emit({ type: of, container: info, time });
        return;
      case 'paused':
      case 'unpaused':
        if (info.error !== null) log.error({ container: id, reason: info.error.message }, 'a container stands still');
        log.info({ container: id, paused: info.paused }, 'container paused or resumed');
        break;
      case 'removed':
        this.context.cache.delete(id);
        this.context.networks.places.release(id);
        break;
      default:
    }
    const isOld = this.hands.opening() && of !== 'removed';
    if (!isOld) emit({ type: of, container: info, time });
  }
}
