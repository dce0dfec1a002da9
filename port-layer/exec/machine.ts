/** A machine: the VM that containers run in. Today each has one container, but nothing here relies on that. */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { ManagedObjectReference } from '../../src/vim25/index.js';
import { ContainerChannel } from '../interaction/container-channel.js';
import type { Card } from '../network/endpoints.js';
import type { ContainerEvent } from './container-life.js';
import {
  isOn,
  lookAfterMs,
  type MachineEffect,
  type MachineEvent,
  type MachineLife,
  nextMachine,
  type SeenPower,
  standsStill,
} from './machine-life.js';
import { notStarted } from './run-status.js';
import type { VmQuestion } from './vm-question.js';

const log = logger('exec');
/** How long to wait before asking a host again that did not answer. */
const RETRY_MS = 1000;

/** What runs in a machine. */
export interface Occupant {
  dispatch(event: ContainerEvent): void;
  /** The machine has changed. */
  changed(): void;
  /** The guest broke the protocol and lost its connection. @param how "it sent …" */
  broken(how: string): void;
}

/** What a machine needs from its surroundings. */
export interface MachineSurroundings {
  /** Asks the host for the machine's current state; null: it is gone. */
  look(machine: Machine): Promise<SeenPower | null>;
  /** It is running, although this endpoint did not start it. */
  found(machine: Machine): void;
}

const ALONE: MachineSurroundings = {
  look: () => Promise.reject(new Error('this machine has no host')),
  found: () => undefined,
};

/** One VM. */
export class Machine {
  /** From the latest news. */
  changeVersion: string | null = null;
  /** Its network cards; null: not read since they last changed. */
  cards: Card[] | null = null;
  /** By their session on the channel. */
  private readonly table = new Map<number, Occupant>();
  private current: MachineLife = { kind: 'off' };
  private latest: SeenPower | null = null;
  private open: ContainerChannel | null = null;
  private closing: Promise<unknown> = Promise.resolve();
  private timer: NodeJS.Timeout | null = null;

  constructor(
    readonly ref: ManagedObjectReference,
    readonly uuid: string,
    private readonly surroundings: MachineSurroundings = ALONE,
  ) {}

  get life(): MachineLife {
    return this.current;
  }

  /** The latest news or look. */
  get report(): SeenPower | null {
    return this.latest;
  }

  /** It may be on, and so uses its disks. */
  get on(): boolean {
    return isOn(this.current);
  }

  /** It is suspended, or its host holds it until a question is answered. */
  get suspended(): boolean {
    return standsStill(this.current);
  }

  /** The question its host holds it for. */
  get question(): VmQuestion | null {
    return this.current.kind === 'on' && this.current.stand.kind === 'asks' ? this.current.stand.question : null;
  }

  /** Adds a container. @param session its number on the channel */
  take(session: number, container: Occupant): void {
    this.table.set(session, container);
  }

  /** Applies an event. */
  dispatch(event: MachineEvent): void {
    if (event.type === 'seen' || event.type === 'looked') this.latest = event.power;
    const before = this.current;
    const { life, effects } = nextMachine(before, event);
    this.current = life;
    if (life !== before) this.watch();
    for (const effect of effects) this.carryOut(effect);
    if (life !== before) for (const container of this.table.values()) container.changed();
  }

  private carryOut(effect: MachineEffect): void {
    if (effect.do === 'found') {
      this.surroundings.found(this);
      return;
    }
    const at = new Date();
    for (const container of this.table.values())
      switch (effect.do) {
        case 'off':
          container.dispatch({ type: 'off', status: effect.status, at });
          break;
        case 'still':
          container.dispatch({ type: 'still', yes: effect.yes, question: effect.question });
          break;
        case 'gone':
          container.dispatch({ type: 'gone', at });
      }
  }

  // --- looking -------------------------------------------------------------------------------------------------------

  /** Looks now, whatever we expect. */
  async look(): Promise<void> {
    const asked = this.current;
    const power = await this.surroundings.look(this);
    // If anything changed meanwhile, the answer may be older than that change.
    if (power === null || this.current !== asked) return;
    if (!power.on && asked.kind !== 'off') log.debug({ vm: this.ref.value }, 'the VM is off, and nobody was told');
    this.dispatch({ type: 'looked', power });
  }

  private watch(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    const ms = lookAfterMs(this.current);
    this.timer = ms === null ? null : setTimeout(() => void this.lookAgain(), ms).unref();
  }

  private async lookAgain(): Promise<void> {
    const asked = this.current;
    try {
      await this.look();
    } catch (error) {
      log.warn({ vm: this.ref.value, err: messageOf(error) }, 'a VM could not be looked at');
      await sleep(RETRY_MS, undefined, { ref: false });
    }
    if (this.current === asked) this.watch();
  }

  // --- the channel ---------------------------------------------------------------------------------------------------

  /** Null while nobody listens for it. */
  get channel(): ContainerChannel | null {
    return this.open;
  }

  /** The channel, which is made if there is none. A machine that is not on yet gets one too, so that early attachers miss no output. */
  channelOn(path: string): ContainerChannel {
    if (this.open !== null) return this.open;
    const channel = new ContainerChannel(path);
    this.open = channel;
    const containerOf = (session: number): Occupant | undefined =>
      this.open === channel ? this.table.get(session) : undefined;
    const all = (): Occupant[] => (this.open === channel ? [...this.table.values()] : []);
    channel.on('started', (session, pid) => {
      const container = containerOf(session);
      if (container === undefined) return;
      this.dispatch({ type: 'heard' });
      container.dispatch({ type: 'started', pid });
    });
    channel.on('failed', (session, code, message) => {
      const container = containerOf(session);
      if (container === undefined) return;
      this.dispatch({ type: 'heard' });
      container.dispatch({ type: 'failed', reason: notStarted('container', code, message), exitCode: code });
    });
    channel.on('exited', (session, { code, oomKilled }) =>
      containerOf(session)?.dispatch({ type: 'ended', exit: { exitCode: code, oomKilled, at: new Date() } }),
    );
    channel.on('oom', (news) => {
      for (const container of all()) container.dispatch({ type: 'oom', news });
    });
    channel.on('broken', (how) => {
      for (const container of all()) container.broken(how);
    });
    channel.on('lost', () => {
      if (this.open === channel) this.dispatch({ type: 'expect', what: 'silent' });
    });
    return channel;
  }

  /** Closes the channel. Unless `now`, first passes on what the VM has sent. */
  closeChannel(now = false): void {
    const channel = this.open;
    this.open = null;
    if (channel !== null) this.closing = Promise.all([this.closing, channel.close(now)]);
  }

  /** Resolves when earlier channels are gone: only then can a new one listen on the same path. */
  async channelClosed(): Promise<void> {
    await this.closing;
  }
}
