/** Execs: further processes in a running container. */
import type {
  AttachedStreams,
  ContainerInfo,
  ExecInfo,
  ExecService,
  InteractionService,
} from '../../../port-layer/index.js';
import { invalid } from '../../../src/common/errors.js';
import { type ContainerLives, checkNotPaused, checkRunning } from '../containers/container-lives.js';
import type { PublishContainerEvent } from '../events/event-publisher.js';
import { connectStreams, type StreamClient } from '../streams/connect-streams.js';
import { DEFAULT_DETACH_KEYS, parseDetachKeys } from '../streams/detach-keys.js';
import { frame } from '../streams/frames.js';
import { dockerMessage } from '../words/docker-message.js';
import { ExecEvents } from './exec-events.js';
import { execProcess, type WantedProcess } from './exec-process.js';

/** The size of a terminal. */
interface TerminalSize {
  rows: number;
  cols: number;
}

/** An exec to be made. */
export interface NewExec extends WantedProcess {
  streams: { stdin: boolean; stdout: boolean; stderr: boolean };
  /** Keys that detach from it; '': the usual ones. */
  detachKeys: string;
  size: TerminalSize | null;
}

/** An exec and the detach keys that it asked for. */
export interface KnownExec extends ExecInfo {
  detachKeys: number[];
}

/** A client that an exec's streams go to. */
export interface ExecClient {
  connection: StreamClient;
  /** Output is held back until this is over. */
  ready?: Promise<void> | undefined;
}

/** What execs depend on. */
export interface ExecParts {
  exec: Pick<ExecService, 'resolve'>;
  interaction: InteractionService;
  lives: Pick<ContainerLives, 'checkNotRestarting'>;
  publish: PublishContainerEvent;
}

export class Execs {
  /** Detach keys of the execs that asked for their own. */
  private readonly detachKeys = new Map<string, string>();

  constructor(private readonly parts: ExecParts) {}

  /** @param reference the container, as the client named it @returns the exec's id @throws invalid, conflict in Docker's words */
  async create(reference: string, wanted: NewExec): Promise<string> {
    const { exec, interaction, lives, publish } = this.parts;
    if (wanted.args.length === 0) throw invalid('No exec command specified');
    const container = exec.resolve(reference);
    const { id } = container.spec;
    if (wanted.detachKeys !== '') parseDetachKeys(wanted.detachKeys, 'escape');
    checkNotPaused(container, `Container ${reference}`, 'exec');
    lives.checkNotRestarting(container);
    checkRunning(container);
    if (wanted.user) await interaction.checkUser(id, wanted.user);
    const spec = execProcess(container, wanted);
    if (wanted.size !== null) spec.terminalSize = wanted.size;
    const created = await interaction.execCreate(id, spec, wanted.streams);
    if (wanted.detachKeys !== '') this.keepDetachKeys(created.id, wanted.detachKeys);
    new ExecEvents(publish, container, { id: created.id, process: spec }).created();
    return created.id;
  }

  /** Starts an exec without anybody who takes its output. */
  async startDetached(execId: string, size: TerminalSize | null): Promise<void> {
    const { known, container } = this.toStart(execId);
    await this.run(known, container, { detach: true, size });
  }

  /**
   * Starts an exec and connects its streams with a client until they end. A failed start is told over the stream, as Docker does.
   * @param multiplexed how the client takes the stream, whatever the process has
   * @param connect opens the client's stream; as with Docker, before the process starts
   */
  async startAttached(
    execId: string,
    options: { multiplexed: boolean; size: TerminalSize | null },
    connect: () => ExecClient,
  ): Promise<void> {
    const { known, container } = this.toStart(execId);
    const detachKeys = this.keysOf(known.id);
    const { multiplexed, size } = options;
    const { connection, ready } = connect();
    let streams: AttachedStreams | null;
    try {
      streams = await this.run(known, container, { detach: false, size });
    } catch (error) {
      await ready;
      const text = Buffer.from(`${dockerMessage(error)}\r\n`);
      connection.output.end(multiplexed ? frame('stdout', text) : text);
      return;
    }
    await ready;
    if (streams === null) return;
    const { tty } = known.process;
    const end = await connectStreams(connection, streams, {
      tty,
      multiplexed,
      stdout: known.openedStreams.stdout,
      stderr: known.openedStreams.stderr && (multiplexed || tty),
      detachKeys,
      closeStdin: true,
    });
    if (end === 'detached') new ExecEvents(this.parts.publish, container, known).detached();
  }

  /** @throws notFound */
  inspect(execId: string): KnownExec {
    const known = this.parts.interaction.execInspect(execId);
    const keys = this.detachKeys.get(known.id);
    return { ...known, detachKeys: keys === undefined ? [] : parseDetachKeys(keys) };
  }

  resize(execId: string, size: TerminalSize): Promise<void> {
    return this.parts.interaction.execResize(execId, size);
  }

  /** @throws notFound, conflict in Docker's words */
  private toStart(execId: string): { known: ExecInfo; container: ContainerInfo } {
    const known = this.parts.interaction.execInspect(execId);
    const container = this.parts.exec.resolve(known.containerId);
    checkNotPaused(container, `Container ${container.spec.id}`, 'exec');
    return { known, container };
  }

  private async run(
    known: ExecInfo,
    container: ContainerInfo,
    { detach, size }: { detach: boolean; size: TerminalSize | null },
  ): Promise<AttachedStreams | null> {
    const { interaction, publish } = this.parts;
    const { id } = known;
    const events = new ExecEvents(publish, container, known);
    events.started();
    const streams = await interaction.execStart(id, { detach, ...(size === null ? {} : { size }) });
    interaction.execWait(id).then(
      (exitCode) => events.ended(exitCode),
      () => undefined,
    );
    return streams;
  }

  private keysOf(execId: string): number[] {
    return parseDetachKeys(this.detachKeys.get(execId) || DEFAULT_DETACH_KEYS);
  }

  private keepDetachKeys(execId: string, keys: string): void {
    for (const id of this.detachKeys.keys()) if (!this.isKnown(id)) this.detachKeys.delete(id);
    this.detachKeys.set(execId, keys);
  }

  private isKnown(execId: string): boolean {
    try {
      return this.parts.interaction.execInspect(execId).id === execId;
    } catch {
      return false;
    }
  }
}
