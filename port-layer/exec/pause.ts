/**
 * Pauses containers: the guest freezes the processes, then the VM is suspended in memory. To read the container's files meanwhile, the VM
 * is woken while the processes stay frozen, so the container remains paused throughout.
 */
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { Freeze } from '../../tether/protocol/frames.js';
import { PortLayerError } from '../errors.js';
import { lookOnce } from '../observe/observe.js';
import type { Container } from './container.js';
import type { ExecContext } from './context.js';
import type { Effects } from './effects.js';
import { questionOf } from './vm-question.js';

const log = logger('exec');
/** The inventory reports a change within this time. */
const SEEN_MS = 2000;
/** How long to wait for the guest's answer; then the VM is suspended all the same. */
const LOOK_MS = 2000;
/** How long a woken VM stays awake afterwards: `docker cp` makes several requests. */
const LINGER_MS = 1000;

/** Suspends and resumes. */
export class Pauser {
  private readonly lingering = new Map<Container, NodeJS.Timeout>();
  /** How many readers of files need the container's VM awake. */
  private readonly visitors = new Map<Container, number>();

  constructor(
    private readonly context: ExecContext,
    private readonly effects: Effects,
  ) {}

  /** Callers must hold the container ({@link Container.exclusive}). @throws conflict */
  async pause(container: Container): Promise<void> {
    if (!container.running || container.ending)
      throw new PortLayerError('container.notRunning', { container: container.id });
    if (container.paused) throw new PortLayerError('container.alreadyPaused', { container: container.id });
    // Look now: if its processes cannot be frozen, nobody can ask the guest afterwards.
    const seen = await lookOnce(container, AbortSignal.timeout(LOOK_MS)).catch((error: unknown) => {
      log.debug({ container: container.id, err: messageOf(error) }, 'a container is paused unseen');
      return null;
    });
    await this.freeze(container);
    try {
      // Readers that are already at its files must be able to go on.
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
    if (!container.running || !container.paused)
      throw new PortLayerError('container.notPaused', { container: container.id });
    const { machine } = container;
    container.dispatch({ type: 'hold', yes: true });
    try {
      if (machine.suspended) await this.powerOn(container);
      if (container.frozen) await this.thaw(container);
    } finally {
      // If its processes stay frozen it remains paused, although its VM is awake.
      if (!container.frozen || machine.suspended) container.dispatch({ type: 'hold', yes: false });
    }
    // It may run out of space again at once; then it is still not running.
    if (machine.question === null) container.dispatch({ type: 'pause', yes: false });
  }

  /**
   * Keeps the guest available until the returned function is called: a paused container's VM is woken without its processes.
   * @throws conflict if its processes would run too, or its VM does not answer
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

  /** The VM of a paused container is awake: somebody else resumed it, or an earlier endpoint left it awake. */
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

  /** Somebody else resumed the VM of a paused container: its processes go on too. */
  goOn(container: Container): void {
    if (!container.frozen) return;
    this.thaw(container).catch((error: unknown) =>
      log.error({ container: container.id, err: messageOf(error) }, 'a container that goes on stays frozen'),
    );
  }

  /** Suspends at once all VMs that were to stay awake a little longer. */
  async close(): Promise<void> {
    await Promise.all([...this.lingering.keys()].map((container) => this.suspendAgain(container)));
  }

  /** If the guest does not answer, the VM will be suspended all the same, but cannot be woken to read files. */
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
    if (container.channel === null) throw new PortLayerError('container.notRunning', { container: container.id });
    await container.channel.freeze(Freeze.thawed);
    container.dispatch({ type: 'frozen', yes: false });
    // An endpoint that takes over cannot ask a suspended guest, so it relies on the record.
    await this.effects
      .keepRun(container)
      .catch((error: unknown) =>
        log.warn({ container: container.id, err: messageOf(error) }, 'it was not recorded that a container goes on'),
      );
  }

  private async wake(container: Container): Promise<void> {
    const { machine, facts } = container;
    if (machine.question !== null)
      throw new PortLayerError('container.heldByHost', { container: container.id, reason: facts.standstill });
    if (!container.frozen) throw new PortLayerError('container.suspendedOnly', { container: container.id });
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

  /** Tells the guest that its VM is only awake for us. An endpoint that finds it awake after a crash then knows that nobody resumed it. */
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
      // Read it again: a restarted host asks a new question.
      const [vm] = await client.retrieve([machine.ref], 'VirtualMachine', ['runtime.question']);
      const question = questionOf(vm?.props['runtime.question']);
      if (question !== null)
        await client.call('AnswerVM', machine.ref, { questionId: question.id, answerChoice: question.goOn });
    } else await client.runTask('PowerOnVM_Task', machine.ref, {});
    // A different question means that it went on in between.
    const wentOn = (): boolean =>
      !machine.suspended || (machine.question !== null && machine.question.id !== answered?.id);
    await container.until(() => wentOn() || !container.running, { ms: SEEN_MS });
    if (!wentOn()) machine.dispatch({ type: 'stands', suspended: false });
  }
}
