/**
 * Pausing a container: its processes are frozen in the guest, then its VM is suspended in memory, and goes on from there. For
 * those who look at its files meanwhile the VM is woken, and its processes stay frozen: the container is paused all along.
 */
import { conflict, messageOf, unavailable } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { Freeze } from '../../tether/protocol/frames.js';
import { lookOnce } from '../observe/observe.js';
import type { Container } from './container.js';
import type { ExecContext } from './context.js';
import type { Effects } from './effects.js';
import { questionOf } from './vm-question.js';

const log = logger('exec');
/** The inventory tells of a change within this. */
const SEEN_MS = 2000;
/** A guest that does not answer is suspended all the same. */
const LOOK_MS = 2000;
/** A VM that was woken stays awake for as long: `docker cp` makes several requests. */
const LINGER_MS = 1000;

/** Suspends and resumes. */
export class Pauser {
  private readonly lingering = new Map<Container, NodeJS.Timeout>();
  /** How many look at a container's files and need its VM awake. */
  private readonly visitors = new Map<Container, number>();

  constructor(
    private readonly context: ExecContext,
    private readonly effects: Effects,
  ) {}

  /** Callers must hold the container ({@link Container.exclusive}). @throws conflict */
  async pause(container: Container): Promise<void> {
    if (!container.running || container.ending) throw conflict(`container ${container.id} is not running`);
    if (container.paused) throw conflict(`Container ${container.id} is already paused`);
    // Nobody can ask it afterwards, unless its processes can be frozen.
    const seen = await lookOnce(container, AbortSignal.timeout(LOOK_MS)).catch((error: unknown) => {
      log.debug({ container: container.id, err: messageOf(error) }, 'a container is paused unseen');
      return null;
    });
    await this.freeze(container);
    try {
      // Those who look at its files already go on doing so.
      if (container.frozen && this.isVisited(container)) await this.hold(container);
      else await this.suspend(container);
    } catch (error) {
      this.goOn(container);
      throw error;
    }
    container.dispatch({ type: 'pause', yes: true });
    container.dispatch({ type: 'seen', seen });
  }

  /** Callers must hold the container. @throws unavailable when it is not paused, or its processes do not go on */
  async unpause(container: Container): Promise<void> {
    if (!container.running || !container.paused) throw unavailable(`Container ${container.id} is not paused`);
    const { machine } = container;
    container.dispatch({ type: 'hold', yes: true });
    try {
      if (machine.suspended) await this.powerOn(container);
      if (container.frozen) await this.thaw(container);
    } finally {
      // One that stays frozen stays paused, though its VM is awake.
      if (!container.frozen || machine.suspended) container.dispatch({ type: 'hold', yes: false });
    }
    // It may run out of room again at once: then it still stands still.
    if (machine.question === null) container.dispatch({ type: 'pause', yes: false });
  }

  /**
   * Sees to it that the guest can be asked until the caller calls what is returned: of a paused container the VM is woken without
   * its processes. @throws conflict when its processes would run too, or its VM does not answer
   */
  visit(container: Container): Promise<() => void> {
    return container.exclusive(async () => {
      if (container.running && container.paused && container.machine.suspended) await this.wake(container);
      this.visitors.set(container, (this.visitors.get(container) ?? 0) + 1);
      this.stay(container);
      let inside = true;
      return () => {
        if (!inside) return;
        inside = false;
        const others = (this.visitors.get(container) ?? 0) - 1;
        if (others > 0) this.visitors.set(container, others);
        else this.visitors.delete(container);
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
    container.dispatch({ type: 'hold', yes: false });
    container.dispatch({ type: 'pause', yes: false });
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
      container.dispatch({ type: 'frozen', yes: true });
      await this.effects.keepRun(container);
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
    container.dispatch({ type: 'frozen', yes: false });
    // An endpoint that takes over cannot ask a suspended guest.
    await this.effects
      .keepRun(container)
      .catch((error: unknown) =>
        log.warn({ container: container.id, err: messageOf(error) }, 'it was not recorded that a container goes on'),
      );
  }

  private async wake(container: Container): Promise<void> {
    const { machine, facts } = container;
    if (machine.question !== null) throw conflict(`Container ${container.id} is paused: ${facts.standstill}`);
    if (!container.frozen)
      throw conflict(
        `Container ${container.id} was paused by suspending its virtual machine alone: unpause it before it is looked into`,
      );
    container.dispatch({ type: 'hold', yes: true });
    try {
      await this.powerOn(container);
      await this.hold(container);
    } catch (error) {
      if (machine.suspended) container.dispatch({ type: 'hold', yes: false });
      else this.leave(container);
      throw error;
    }
  }

  /** Frozen, with its VM awake: who finds it so after a crash knows by what the guest keeps that nobody has let it go on. */
  private async hold(container: Container): Promise<void> {
    container.dispatch({ type: 'hold', yes: true });
    await container.channel?.freeze(Freeze.held);
  }

  private stay(container: Container): void {
    clearTimeout(this.lingering.get(container));
    this.lingering.delete(container);
  }

  private leave(container: Container): void {
    this.stay(container);
    if (this.isVisited(container) || !container.running || !container.paused) return;
    const timer = setTimeout(() => void this.suspendAgain(container), LINGER_MS);
    this.lingering.set(container, timer);
  }

  private suspendAgain(container: Container): Promise<void> {
    this.stay(container);
    return container.exclusive(async () => {
      if (this.isVisited(container) || !container.running || !container.paused || container.machine.suspended) return;
      try {
        await container.channel?.freeze(Freeze.frozen);
        await this.suspend(container);
        container.dispatch({ type: 'hold', yes: false });
      } catch (error) {
        log.warn({ container: container.id, err: messageOf(error) }, 'the VM of a paused container stays awake');
      }
    });
  }

  private isVisited(container: Container): boolean {
    return this.visitors.has(container);
  }

  private async suspend(container: Container): Promise<void> {
    const { machine } = container;
    await this.context.client.runTask('SuspendVM_Task', machine.ref, {});
    await container.until(() => machine.suspended || !container.running, { ms: SEEN_MS });
    machine.dispatch({ type: 'stands', suspended: true });
  }

  private async powerOn(container: Container): Promise<void> {
    const { client } = this.context;
    const { machine } = container;
    const answered = machine.question;
    if (answered !== null) {
      // As it is asked now: a host that was started anew asks again.
      const [vm] = await client.retrieve([machine.ref], 'VirtualMachine', ['runtime.question']);
      const question = questionOf(vm?.props['runtime.question']);
      if (question !== null)
        await client.call('AnswerVM', machine.ref, { questionId: question.id, answerChoice: question.goOn });
    } else await client.runTask('PowerOnVM_Task', machine.ref, {});
    // Another question means that it went on in between.
    const wentOn = (): boolean =>
      !machine.suspended || (machine.question !== null && machine.question.id !== answered?.id);
    await container.until(() => wentOn() || !container.running, { ms: SEEN_MS });
    if (!wentOn()) machine.dispatch({ type: 'stands', suspended: false });
  }
}
