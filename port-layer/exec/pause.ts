/**
 * Pausing a container: its processes are frozen in the guest, then its VM is suspended in memory, and goes on from there. For
 * those who look at its files meanwhile the VM is woken, and its processes stay frozen: the container is paused all along.
 */
import { conflict, messageOf, unavailable } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { within } from '../../src/common/within.js';
import { Freeze } from '../../tether/protocol/frames.js';
import { lookOnce } from '../observe/observe.js';
import type { Container } from './container.js';
import type { ExecContext } from './context.js';
import { change } from './handle.js';
import { RUN_KEY, type RunRecord } from './run-record.js';
import type { VmObserver } from './vm-observer.js';
import { questionOf } from './vm-question.js';

const log = logger('exec');
/** What the inventory has taken in is told within this. */
const SEEN_MS = 2000;
/** A guest that does not answer is suspended all the same. */
const LOOK_MS = 2000;
/** A VM that was woken stays awake for as long: `docker cp` makes several requests. */
const LINGER_MS = 1000;

/** Suspends and resumes. */
export class Pauser {
  private readonly lingering = new Map<Container, NodeJS.Timeout>();

  constructor(
    private readonly context: ExecContext,
    private readonly observer: VmObserver,
  ) {}

  /** Callers must hold the container ({@link Container.exclusive}). @throws conflict */
  async pause(container: Container): Promise<void> {
    if (!container.running || container.reportedExit !== null)
      throw conflict(`container ${container.id} is not running`);
    if (container.paused) throw conflict(`Container ${container.id} is already paused`);
    // Nobody can ask it afterwards, unless its processes can be frozen.
    const seen = await lookOnce(container, AbortSignal.timeout(LOOK_MS)).catch((error: unknown) => {
      log.debug({ container: container.id, err: messageOf(error) }, 'a container is paused unseen');
      return null;
    });
    await this.freeze(container);
    try {
      // Those who look at its files already go on doing so.
      if (container.frozen && container.visitors > 0) await this.hold(container);
      else await this.suspend(container);
    } catch (error) {
      this.goOn(container);
      throw error;
    }
    container.lastSeen = seen;
    this.observer.paused(container, true);
  }

  /** Callers must hold the container. @throws unavailable when it is not paused, or its processes do not go on */
  async unpause(container: Container): Promise<void> {
    if (!container.running || !container.paused) throw unavailable(`Container ${container.id} is not paused`);
    container.held = true;
    try {
      if (container.suspended) await this.powerOn(container);
      if (container.frozen) await this.thaw(container);
    } finally {
      // One that stays frozen stays paused, though its VM is awake.
      if (!container.frozen || container.suspended) container.held = false;
    }
    // It may lack room at once, and stands still again.
    if (container.question === null) this.observer.paused(container, false);
  }

  /**
   * Sees to it that the guest can be asked until the caller calls what is returned: of a paused container the VM is woken without
   * its processes. @throws conflict when its processes would run too, or its VM does not answer
   */
  visit(container: Container): Promise<() => void> {
    return container.exclusive(async () => {
      if (container.running && container.paused && container.suspended) await this.wake(container);
      container.visitors++;
      this.stay(container);
      let inside = true;
      return () => {
        if (!inside) return;
        inside = false;
        container.visitors--;
        this.leave(container);
      };
    });
  }

  /** A container that was paused has its VM running: let go by somebody else, or left so by an earlier endpoint. */
  async foundAwake(container: Container): Promise<void> {
    const state = await container.channel?.freeze(Freeze.ask).catch((error: unknown) => {
      log.warn({ container: container.id, err: messageOf(error) }, 'a paused container does not answer');
      return null;
    });
    if (state === Freeze.held) {
      this.leave(container);
      return;
    }
    container.held = false;
    this.observer.paused(container, false);
  }

  /** The VM of a paused container was let go by somebody else: its processes go on too. */
  goOn(container: Container): void {
    if (!container.frozen) return;
    this.thaw(container).catch((error: unknown) =>
      log.error({ container: container.id, err: messageOf(error) }, 'a container that goes on stays frozen'),
    );
  }

  /** Suspends at once what is awake for a little longer. */
  async close(): Promise<void> {
    await Promise.all([...this.lingering.keys()].map((container) => this.suspendAgain(container)));
  }

  /** Without a guest that answers, the VM is suspended all the same, but cannot be woken for files. */
  private async freeze(container: Container): Promise<void> {
    try {
      if (container.channel === null) return;
      await container.channel.freeze(Freeze.frozen);
      container.frozen = true;
      await this.keep(container);
    } catch (error) {
      log.warn(
        { container: container.id, err: messageOf(error) },
        'the processes of a paused container are not frozen',
      );
    }
  }

  private async thaw(container: Container): Promise<void> {
    if (container.channel === null) throw conflict(`container ${container.id} is not running`);
    await container.channel.freeze(Freeze.thawed);
    container.frozen = false;
    await this.keep(container).catch((error: unknown) =>
      log.warn({ container: container.id, err: messageOf(error) }, 'it was not kept that a container goes on'),
    );
  }

  /** Keeps with the VM whether its processes are frozen: an endpoint that takes over cannot ask a suspended guest. */
  private async keep(container: Container): Promise<void> {
    const { startedAt, endpoints, frozen } = container;
    if (startedAt === null) return;
    const record: RunRecord = { startedAt: startedAt.toISOString(), endpoints, ...(frozen ? { frozen } : {}) };
    await change(this.context.client, container.vm, container.changeVersion, (handle) => {
      handle.key(RUN_KEY, JSON.stringify(record));
    });
  }

  private async wake(container: Container): Promise<void> {
    if (container.question !== null) throw conflict(`Container ${container.id} is paused: ${container.error}`);
    if (!container.frozen)
      throw conflict(
        `Container ${container.id} was paused by suspending its virtual machine alone: unpause it before it is looked into`,
      );
    container.held = true;
    try {
      await this.powerOn(container);
      await this.hold(container);
    } catch (error) {
      if (container.suspended) container.held = false;
      else this.leave(container);
      throw error;
    }
  }

  /** Frozen, with its VM awake: who finds it so after a crash knows by what the guest keeps that nobody has let it go on. */
  private async hold(container: Container): Promise<void> {
    container.held = true;
    await container.channel?.freeze(Freeze.held);
  }

  private stay(container: Container): void {
    clearTimeout(this.lingering.get(container));
    this.lingering.delete(container);
  }

  private leave(container: Container): void {
    this.stay(container);
    if (container.visitors > 0 || !container.running || !container.paused) return;
    const timer = setTimeout(() => void this.suspendAgain(container), LINGER_MS);
    this.lingering.set(container, timer);
  }

  private suspendAgain(container: Container): Promise<void> {
    this.stay(container);
    return container.exclusive(async () => {
      if (container.visitors > 0 || !container.running || !container.paused || container.suspended) return;
      try {
        await container.channel?.freeze(Freeze.frozen);
        await this.suspend(container);
        container.held = false;
      } catch (error) {
        log.warn({ container: container.id, err: messageOf(error) }, 'the VM of a paused container stays awake');
      }
    });
  }

  private async suspend(container: Container): Promise<void> {
    await this.context.client.runTask('SuspendVM_Task', container.vm, {});
    await this.seen(container, true);
  }

  private async powerOn(container: Container): Promise<void> {
    const { client } = this.context;
    if (container.question !== null) {
      // As it is asked now: a host that was started anew asks again.
      const [vm] = await client.retrieve([container.vm], 'VirtualMachine', ['runtime.question']);
      const question = questionOf(vm?.props['runtime.question']);
      if (question !== null)
        await client.call('AnswerVM', container.vm, { questionId: question.id, answerChoice: question.goOn });
    } else await client.runTask('PowerOnVM_Task', container.vm, {});
    await this.seen(container, false);
  }

  /** The inventory tells it; not for ever is it waited for. */
  private async seen(container: Container, suspended: boolean): Promise<void> {
    const over = new AbortController();
    const told = new Promise<void>((resolve) => {
      const look = (): void => {
        if (container.suspended === suspended || !container.running) resolve();
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
    if (container.running && container.suspended !== suspended) this.observer.suspended(container, suspended);
  }
}
