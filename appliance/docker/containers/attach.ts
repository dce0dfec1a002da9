/** Attaches clients to a container's streams. */
import type { AttachedStreams, ContainerInfo, ExecService, InteractionService } from '../../../port-layer/index.js';
import type { PublishContainerEvent } from '../events/event-publisher.js';
import { connectStreams, type StreamClient } from '../streams/connect-streams.js';
import { DEFAULT_DETACH_KEYS, parseDetachKeys } from '../streams/detach-keys.js';
import { type ContainerLives, checkNotPaused } from './container-lives.js';
import { recordOf } from './container-record.js';

/** What a client wants of a container's streams. */
export interface AttachRequest {
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  /** Begin with what the log has. */
  logs: boolean;
  /** Follow what comes. */
  stream: boolean;
  /** '': the usual ones. */
  detachKeys: string;
}

/** A container's streams, opened for one client. */
export interface Attachment {
  container: ContainerInfo;
  streams: AttachedStreams;
  stdout: boolean;
  stderr: boolean;
  detachKeys: number[];
}

/** What attaching depends on. */
export interface AttachParts {
  exec: Pick<ExecService, 'resolve'>;
  interaction: Pick<InteractionService, 'attach'>;
  lives: Pick<ContainerLives, 'checkNotRestarting'>;
  publish: PublishContainerEvent;
}

/** @param reference the container, as the client named it @throws notFound, conflict, invalid in Docker's words */
export async function attach(parts: AttachParts, reference: string, wanted: AttachRequest): Promise<Attachment> {
  const detachKeys = parseDetachKeys(wanted.detachKeys || DEFAULT_DETACH_KEYS);
  const container = parts.exec.resolve(reference);
  checkNotPaused(container, `container ${reference}`, 'attach');
  parts.lives.checkNotRestarting(container, `container ${reference}`);
  const { stdin, stdout, stderr, logs } = wanted;
  const streams = await parts.interaction.attach(container.spec.id, {
    stdin,
    logs,
    // Without any stream there is nothing to follow.
    stream: wanted.stream && (stdin || stdout || stderr),
  });
  return { container, streams, stdout, stderr, detachKeys };
}

/** Connects a client with an attachment until the output ends, the client leaves, or it detaches. */
export async function connectAttached(
  parts: Pick<AttachParts, 'exec' | 'publish'>,
  client: StreamClient,
  { container, streams, ...wanted }: Attachment,
  multiplexed: boolean,
): Promise<void> {
  parts.publish(container, 'attach');
  const end = await connectStreams(client, streams, {
    ...wanted,
    tty: container.spec.process.tty,
    multiplexed,
    closeStdin: recordOf(container).config.StdinOnce,
  });
  if (end === 'detached') parts.publish(parts.exec.resolve(container.spec.id), 'detach');
}
