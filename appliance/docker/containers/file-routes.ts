/** Routes of a container's files: `docker cp`, `export` and `diff`. */
import { Readable } from 'node:stream';
import type { Request, Router } from 'express';
import type { ExecService, FileService } from '../../../port-layer/index.js';
import { invalid } from '../../../src/common/errors.js';
import type { PublishContainerEvent } from '../events/event-publisher.js';
import { uncompressed } from '../http/archive-compression.js';
import { flag, hangup, query } from '../http/request.js';
import { sendTar } from '../http/send-tar.js';
import { PATH_STAT_HEADER, pathStatHeader } from './path-stat.js';

/** `Kind` of a change: Docker's archive.ChangeType. */
const KINDS = { modified: 0, added: 1, deleted: 2 } as const;

/** What the routes need. */
export interface FileParts {
  exec: Pick<ExecService, 'resolve'>;
  files: Pick<FileService, 'stat' | 'archive' | 'export' | 'changes' | 'extract'>;
  publish: PublishContainerEvent;
}

/** Adds the routes. */
export function fileRoutes(router: Router, { exec, files, publish }: FileParts): void {
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
    publish(container, 'archive-path');
    response.setHeader(PATH_STAT_HEADER, pathStatHeader(stat));
    await sendTar(response, tar, 'application/x-tar');
  });

  router.get('/containers/:id/export', async (request, response) => {
    const container = exec.resolve(request.params.id);
    const tar = await files.export(container.spec.id, hangup(response));
    publish(container, 'export');
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
    // Its errors reach whoever reads it.
    tar.on('error', () => undefined);
    const options = { keepKind: flag(request, 'noOverwriteDirNonDir'), asUser: flag(request, 'copyUIDGID') };
    try {
      await files.extract(request.params.id, path, tar, options, hangup(response));
    } finally {
      request.resume();
    }
    publish(container, 'extract-to-dir');
    response.status(200).end();
  });
}

/** @throws invalid in Docker's words, with its missing space: clients compare them */
function pathOf(request: Request): string {
  const path = query(request, 'path') ?? '';
  if (path === '') throw invalid('bad parameter: pathcannot be empty');
  if (path.includes('\0')) throw invalid('bad parameter: path contains a NUL byte');
  return path;
}
