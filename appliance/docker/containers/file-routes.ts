/** Routes of container files: what `docker cp` asks for. */
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Request, Response, Router } from 'express';
import { invalid, messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import type { Engine } from '../engine.js';
import { uncompressed } from '../http/archive-compression.js';
import { flag, hangup, query } from '../http/request.js';
import { PATH_STAT_HEADER, pathStatHeader } from './path-stat.js';

const log = logger('docker');

/** `Kind` of a change: Docker's archive.ChangeType. */
const KINDS = { modified: 0, added: 1, deleted: 2 } as const;

/** Adds the routes. */
export function fileRoutes(router: Router, engine: Engine): void {
  const { exec, files } = engine.portLayer;

  router.head('/containers/:id/archive', async (request, response) => {
    const path = pathOf(request);
    exec.resolve(request.params.id);
    const stat = await files.stat(request.params.id, path, hangup(response));
    response.setHeader(PATH_STAT_HEADER, pathStatHeader(stat)).status(200).end();
  });

  router.get('/containers/:id/archive', async (request, response) => {
    const path = pathOf(request);
    const container = exec.resolve(request.params.id);
    const { stat, tar } = await files.archive(request.params.id, path, hangup(response));
    engine.publish(container, 'archive-path');
    response.setHeader(PATH_STAT_HEADER, pathStatHeader(stat));
    await sendTar(response, tar, 'application/x-tar');
  });

  router.get('/containers/:id/export', async (request, response) => {
    const container = exec.resolve(request.params.id);
    const tar = await files.export(container.spec.id, hangup(response));
    engine.publish(container, 'export');
    await sendTar(response, tar, 'application/octet-stream');
  });

  router.get('/containers/:id/changes', async (request, response) => {
    const { spec } = exec.resolve(request.params.id);
    const changes = await files.changes(spec.id, hangup(response));
    const rows = changes.map(({ path, kind }) => ({ Path: path, Kind: KINDS[kind] }));
    response.json(rows.length === 0 ? null : rows);
  });

  router.put('/containers/:id/archive', async (request, response) => {
    const path = pathOf(request);
    const container = exec.resolve(request.params.id);
    const tar = Readable.from(uncompressed(request), { objectMode: false });
    // What goes wrong with it is told by whoever reads it.
    tar.on('error', () => undefined);
    const options = { keepKind: flag(request, 'noOverwriteDirNonDir'), asUser: flag(request, 'copyUIDGID') };
    try {
      await files.extract(request.params.id, path, tar, options, hangup(response));
    } finally {
      request.resume();
    }
    engine.publish(container, 'extract-to-dir');
    response.status(200).end();
  });
}

/** @throws invalid in Docker's words (its missing space included: clients compare) */
function pathOf(request: Request): string {
  const path = query(request, 'path') ?? '';
  if (path === '') throw invalid('bad parameter: pathcannot be empty');
  if (path.includes('\0')) throw invalid('bad parameter: path contains a NUL byte');
  return path;
}

/** A tar as the answer. One that breaks off breaks the connection: the client must not take it for whole. */
export async function sendTar(response: Response, tar: Readable, type: string): Promise<void> {
  response.setHeader('content-type', type).status(200);
  try {
    // Fail before the head goes out, if it fails at once.
    if (tar.readableLength === 0 && !tar.readableEnded) await Promise.race([once(tar, 'readable'), once(tar, 'end')]);
    await pipeline(tar, response);
  } catch (error) {
    tar.destroy();
    if (!response.headersSent) throw error;
    log.warn({ err: messageOf(error) }, 'an archive broke off');
    response.destroy();
  }
}
