/** Forwards the output of containers with the log driver `syslog`, run by run, line by line. */

import {
  type ContainerInfo,
  type InteractionService,
  type KeyValueStore,
  LineAssembler,
  type OutputChunk,
  PortLayerError,
  RUN_END,
} from '../../../port-layer/index.js';
import { isKind, messageOf, unavailable } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { recordOf } from '../containers/container-record.js';
import { dockerMessage } from '../words/docker-message.js';
import { checkLogValues, logDriver } from './log-options.js';
import { renderTag, type TagSubject } from './log-tag.js';
import { syslogMessage } from './syslog-message.js';
import { checkSyslogSocket, NOTHING_GRANTED, syslogSettings } from './syslog-options.js';
import { openSyslog, type SyslogSender } from './syslog-sender.js';

const log = logger('syslog');
/** How often the position is saved for the next endpoint, which may send at most this much time's lines again. */
const NOTE_MS = 2000;

/** Docker's exit code for any missing file. */
const NOT_FOUND = 127;

const noteKey = (id: string): string => `syslog.${id}`;

/** A run whose output is being sent. */
interface Forwarded {
  stopped: boolean;
  /** Ends the output. */
  stop(): void;
}

/** Follows running containers. As with Docker's driver, a slow server slows the containers down. */
export class LogForwarding {
  private readonly open = new Map<string, Forwarded>();

  constructor(
    private readonly interaction: InteractionService,
    private readonly kv: KeyValueStore,
    private readonly grants = NOTHING_GRANTED,
  ) {}

  /**
   * Before a container's start: checks its log options and, with `syslog`, connects to the server, so that not even the first line is
   * missed.
   * @throws unavailable in Docker's words; `start.notPrepared` when a file is missing, with Docker's exit code
   */
  async prepare(container: ContainerInfo): Promise<void> {
    const { id } = container.spec;
    const config = recordOf(container).hostConfig.LogConfig;
    this.stop(id);
    let sender: SyslogSender;
    try {
      checkLogValues(config, tagSubject(container));
      if (logDriver(config) !== 'syslog') return;
      sender = await this.connect(container);
    } catch (error) {
      const message = `failed to create task for container: failed to initialize logging driver: ${dockerMessage(error)}`;
      if (message.includes('no such file or directory'))
        throw new PortLayerError('start.notPrepared', { exitCode: NOT_FOUND, reason: message });
      throw unavailable(message, error);
    }
    const streams = await this.interaction.attach(id, { stdin: false, logs: false, stream: true });
    const lines = async function* (): AsyncGenerator<OutputChunk[]> {
      const assembler = new LineAssembler();
      for await (const chunk of streams.output) yield chunksOf(assembler.push([chunk as OutputChunk]));
      yield chunksOf(assembler.push([RUN_END]));
    };
    this.forward(container, lines(), sender, () => streams.close());
  }

  /** For a container that runs already: goes on where the endpoint before stopped, or from now on. */
  async resume(container: ContainerInfo): Promise<void> {
    if (logDriver(recordOf(container).hostConfig.LogConfig) !== 'syslog') return;
    const { id } = container.spec;
    try {
      const sender = await this.connect(container);
      const noted = (await this.kv.get(noteKey(id)))?.toString() ?? '';
      const sinceNs = /^\d+$/.test(noted) ? BigInt(noted) + 1n : BigInt(Date.now()) * 1_000_000n;
      const lines = await this.interaction.logs(id, { follow: true, stdout: true, stderr: true, sinceNs });
      this.forward(container, lines as AsyncIterable<OutputChunk[]>, sender, () => lines.destroy());
    } catch (error) {
      log.error({ container: id, err: messageOf(error) }, 'the log of a running container cannot be forwarded');
    }
  }

  close(): void {
    for (const id of this.open.keys()) this.stop(id);
  }

  private stop(id: string): void {
    const forwarded = this.open.get(id);
    if (forwarded === undefined) return;
    this.open.delete(id);
    forwarded.stopped = true;
    forwarded.stop();
  }

  private async connect(container: ContainerInfo): Promise<SyslogSender> {
    const settings = syslogSettings(recordOf(container).hostConfig.LogConfig?.Config ?? {}, this.grants);
    checkSyslogSocket(settings, this.grants);
    return openSyslog(settings);
  }

  private forward(
    container: ContainerInfo,
    lines: AsyncIterable<OutputChunk[]>,
    sender: SyslogSender,
    stop: () => void,
  ): void {
    const { spec } = container;
    const options = recordOf(container).hostConfig.LogConfig?.Config ?? {};
    const { address, facility, format } = syslogSettings(options, null);
    const form = {
      facility,
      format,
      tag: renderTag(options.tag, tagSubject(container)),
      counted: address.scheme === 'tcp+tls' && format.startsWith('rfc5424'),
    };
    const entry: Forwarded = { stopped: false, stop };
    this.open.set(spec.id, entry);
    let last = 0n;
    let noted = 0n;
    const note = setInterval(() => {
      if (last === noted) return;
      noted = last;
      this.kv.put(noteKey(spec.id), Buffer.from(String(last))).catch(() => undefined);
    }, NOTE_MS);
    const run = async (): Promise<void> => {
      try {
        for await (const batch of lines) {
          for (const line of batch) {
            await sender.send(syslogMessage(line, form));
            last = line.timeNs;
          }
        }
      } catch (error) {
        if (!isKind(error, 'cancelled'))
          log.warn({ container: spec.id, err: messageOf(error) }, 'forwarding the log of a container has stopped');
      } finally {
        clearInterval(note);
        sender.close();
        if (this.open.get(spec.id) === entry) this.open.delete(spec.id);
        // After `stop` the position stays, for the next endpoint.
        if (noted !== 0n && !entry.stopped) await this.kv.delete(noteKey(spec.id)).catch(() => undefined);
      }
    };
    void run();
  }
}

function tagSubject(container: ContainerInfo): TagSubject {
  return { ...container.spec, imageName: recordOf(container).config.Image };
}

function chunksOf(items: ReturnType<LineAssembler['push']>): OutputChunk[] {
  return items.filter((item): item is OutputChunk => typeof item === 'object');
}
