/** `GET /containers/{id}/logs`. */
import type { Request, Router } from 'express';
import type { ExecService, InteractionService } from '../../../port-layer/index.js';
import { invalid } from '../../../src/common/errors.js';
import { flag, hangup, query, versionOf } from '../http/request.js';
import { streamType } from '../http/stream-type.js';
import { drained } from '../streams/drained.js';
import { parseUnixTime } from '../values/timestamps.js';
import { type LogRequest, readLogs } from './logs.js';

/** What the route needs. */
export interface LogParts {
  exec: Pick<ExecService, 'resolve'>;
  interaction: Pick<InteractionService, 'logs'>;
}

/** Adds the route. */
export function logRoutes(router: Router, { exec, interaction }: LogParts): void {
  router.get('/containers/:id/logs', async (request, response) => {
    const streams = { stdout: flag(request, 'stdout'), stderr: flag(request, 'stderr') };
    if (!streams.stdout && !streams.stderr) throw invalid('Bad parameters: you must choose at least one stream');
    const container = exec.resolve(request.params.id);
    const pieces = await readLogs(interaction, container, logRequest(request, streams), hangup(response));
    const type = streamType(container.spec.process.tty, versionOf(request));
    response.writeHead(200, { 'content-type': type });
    response.flushHeaders();
    try {
      for await (const piece of pieces) {
        if (response.destroyed) return;
        if (!response.write(piece)) await drained(response);
      }
    } catch (error) {
      // A client that has gone needs no answer.
      if (!response.destroyed) throw error;
    }
    response.end();
  });
}

/** @throws invalid for a time that cannot be read */
function logRequest(request: Request, streams: { stdout: boolean; stderr: boolean }): LogRequest {
  const time = (name: string): bigint | undefined => {
    const value = query(request, name);
    return value === undefined || value === '' || value === '0' ? undefined : parseUnixTime(value);
  };
  const [sinceNs, untilNs, tail] = [time('since'), time('until'), lineCount(query(request, 'tail'))];
  return {
    ...streams,
    follow: flag(request, 'follow'),
    timestamps: flag(request, 'timestamps'),
    details: flag(request, 'details'),
    ...(sinceNs === undefined ? {} : { sinceNs }),
    ...(untilNs === undefined ? {} : { untilNs }),
    ...(tail === undefined ? {} : { tail }),
  };
}

/** `tail`. Like Docker, takes a negative number, and anything that is not a number, for "all". */
function lineCount(text: string | undefined): number | undefined {
  return text !== undefined && /^[+]?\d+$/.test(text) ? Number(text) : undefined;
}
