/** Attaching to a container's streams: over the connection itself, and over a WebSocket. */
import type { Request, Response, Router } from 'express';
import type { AttachedStreams, ContainerInfo } from '../../../port-layer/index.js';
import type { Engine } from '../engine.js';
import { atLeast } from '../http/api-version.js';
import type { RawConnection } from '../http/connection.js';
import { sendRawError } from '../http/errors.js';
import { dropBody, hijack } from '../http/hijack.js';
import { flag, query, versionOf } from '../http/request.js';
import { connectStreams, DEFAULT_DETACH_KEYS, parseDetachKeys, RAW_STREAM, streamType } from '../http/streams.js';
import { acceptWebSocket } from '../http/web-socket.js';
import { checkNotPaused } from './container-lives.js';
import { recordOf } from './container-record.js';

/** A container's streams for one request. */
interface Attachment {
  container: ContainerInfo;
  streams: AttachedStreams;
  stdout: boolean;
  stderr: boolean;
  detachKeys: number[];
}

/** Adds the routes. */
export function attachRoutes(router: Router, engine: Engine): void {
  const { exec, interaction } = engine.portLayer;

  /** @param all of its streams, whatever the request says */
  const attach = async (request: Request, all = false): Promise<Attachment> => {
    const detachKeys = parseDetachKeys(query(request, 'detachKeys') || DEFAULT_DETACH_KEYS);
    const name = String(request.params.id);
    const container = exec.resolve(name);
    checkNotPaused(container, `container ${name}`, 'attach');
    engine.lives.checkNotRestarting(container, `container ${name}`);
    const wants = (stream: string): boolean => all || flag(request, stream);
    const [stdin, stdout, stderr] = [wants('stdin'), wants('stdout'), wants('stderr')];
    const streams = await interaction.attach(container.spec.id, {
      stdin,
      logs: flag(request, 'logs'),
      // Without any stream there is nothing to wait for.
      stream: flag(request, 'stream') && (stdin || stdout || stderr),
    });
    return { container, streams, stdout, stderr, detachKeys };
  };

  const connect = async (
    client: RawConnection,
    { container, streams, ...wanted }: Attachment,
    multiplexed: boolean,
  ): Promise<void> => {
    engine.publish(container, 'attach');
    const end = await connectStreams(client, streams, {
      ...wanted,
      tty: container.spec.process.tty,
      multiplexed,
      closeStdin: recordOf(container).config.StdinOnce,
    });
    if (end === 'detached') engine.publish(exec.resolve(container.spec.id), 'detach');
  };

  router.post('/containers/:id/attach', async (request: Request, response: Response) => {
    let attachment: Attachment;
    try {
      await dropBody(request);
      attachment = await attach(request);
    } catch (error) {
      sendRawError(response, error, RAW_STREAM);
      return;
    }
    const multiplexed = !attachment.container.spec.process.tty;
    await connect(hijack(request, response, streamType(!multiplexed, versionOf(request))), attachment, multiplexed);
  });

  router.get('/containers/:id/attach/ws', async (request: Request, response: Response) => {
    // Which streams, can be said since 1.42.
    const attachment = await attach(request, !atLeast(versionOf(request), '1.42'));
    const client = await acceptWebSocket(request, response);
    if (client === null) attachment.streams.close();
    else await connect(client, attachment, false);
  });
}
