/** Routes of execs. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Request, Router } from 'express';
import { atLeast } from '../http/api-version.js';
import { hijack } from '../http/hijack.js';
import { body, terminalSize, versionOf } from '../http/request.js';
import { streamType } from '../http/stream-type.js';
import { execSchema, execStartSchema } from './exec-body.js';
import type { Execs } from './exec-service.js';
import { execView } from './exec-view.js';

/**
 * docker-py drops what it has read together with the head of the answer. With Docker a process takes some 80 ms to start; here it is so
 * quick that its output would often be in the same read as the head, so for docker-py it waits as long.
 */
const LOSES_OUTPUT = /\bdocker-(sdk-python|py)\//;
const HEAD_READ_MS = 80;

/** Adds the routes. */
export function execRoutes(router: Router, execs: Execs): void {
  router.post('/containers/:id/exec', async (request, response) => {
    const wanted = await body(request, execSchema);
    const id = await execs.create(request.params.id, {
      args: wanted.Cmd ?? [],
      env: wanted.Env ?? [],
      cwd: wanted.WorkingDir,
      user: wanted.User,
      tty: wanted.Tty === true,
      openStdin: wanted.AttachStdin === true,
      privileged: wanted.Privileged === true,
      streams: {
        stdin: wanted.AttachStdin === true,
        stdout: wanted.AttachStdout === true,
        stderr: wanted.AttachStderr === true,
      },
      detachKeys: wanted.DetachKeys ?? '',
      size: consoleSize(request, wanted.ConsoleSize),
    });
    response.status(201).json({ Id: id });
  });

  router.post('/exec/:id/start', async (request, response) => {
    const wanted = await body(request, execStartSchema);
    const { id } = request.params;
    const size = consoleSize(request, wanted.ConsoleSize);
    if (wanted.Detach === true) {
      await execs.startDetached(id, size);
      response.status(200).end();
      return;
    }
    const multiplexed = wanted.Tty !== true;
    await execs.startAttached(id, { multiplexed, size }, () => ({
      connection: hijack(request, response, streamType(!multiplexed, versionOf(request)), { headers: true }),
      ready: LOSES_OUTPUT.test(request.get('user-agent') ?? '') ? sleep(HEAD_READ_MS) : undefined,
    }));
  });

  router.post('/exec/:id/resize', async (request, response) => {
    await execs.resize(request.params.id, terminalSize(request));
    response.status(200).end();
  });

  router.get('/exec/:id/json', (request, response) => {
    response.json(execView(execs.inspect(request.params.id)));
  });
}

/** The size that a request gives the terminal; before 1.42 it could not. */
function consoleSize(
  request: Request,
  given: readonly [number, number] | null | undefined,
): { rows: number; cols: number } | null {
  const [rows, cols] = (atLeast(versionOf(request), '1.42') ? given : null) ?? [0, 0];
  return rows > 0 ? { rows, cols } : null;
}
