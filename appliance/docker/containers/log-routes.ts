/** `GET /containers/{id}/logs`. */
import type { Router } from 'express';
import type { ContainerInfo, OutputChunk } from '../../../port-layer/index.js';
import { invalid } from '../../../src/common/errors.js';
import type { Engine } from '../engine.js';
import { flag, hangup, query, versionOf } from '../http/request.js';
import { drained, streamType } from '../http/streams.js';
import { encodeDetails, type LogFormat, renderLines } from '../logging/log-frames.js';
import { logAttributes, logDriver } from '../logging/log-options.js';
import { renderTag } from '../logging/log-tag.js';
import { parseUnixTime } from '../values/timestamps.js';
import { recordOf } from './container-record.js';

/** Adds the route. */
export function logRoutes(router: Router, engine: Engine): void {
  const { exec, interaction } = engine.portLayer;

  router.get('/containers/:id/logs', async (request, response) => {
    const [stdout, stderr] = [flag(request, 'stdout'), flag(request, 'stderr')];
    if (!stdout && !stderr) throw invalid('Bad parameters: you must choose at least one stream');
    const container = exec.resolve(request.params.id);
    const { tty } = container.spec.process;
    const time = (name: string): bigint | undefined => {
      const value = query(request, name);
      return value === undefined || value === '' || value === '0' ? undefined : parseUnixTime(value);
    };
    const [sinceNs, untilNs, tail] = [time('since'), time('until'), lineCount(query(request, 'tail'))];
    const format: LogFormat = {
      tty,
      timestamps: flag(request, 'timestamps'),
      details: flag(request, 'details') ? details(container) : null,
    };
    const batches = await interaction.logs(
      container.spec.id,
      {
        follow: flag(request, 'follow'),
        stdout,
        stderr,
        ...(sinceNs === undefined ? {} : { sinceNs }),
        ...(untilNs === undefined ? {} : { untilNs }),
        ...(tail === undefined ? {} : { tail }),
      },
      hangup(response),
    );
    response.writeHead(200, { 'content-type': streamType(tty, versionOf(request)) });
    response.flushHeaders();
    try {
      for await (const batch of batches) {
        if (response.destroyed) return;
        if (!response.write(renderLines(batch as OutputChunk[], format))) await drained(response);
      }
    } catch (error) {
      // The client has gone.
      if (!response.destroyed) throw error;
    }
    response.end();
  });
}

function details(container: ContainerInfo): string {
  const { Labels: labels, Env: env, Image: imageName } = recordOf(container).config;
  const config = recordOf(container).hostConfig.LogConfig;
  // Only `json-file` keeps attributes with its lines.
  if (logDriver(config) !== 'json-file') return '';
  const tag = config?.Config?.tag;
  return encodeDetails({
    ...logAttributes(config, labels ?? {}, env ?? []),
    ...(tag ? { tag: renderTag(tag, { ...container.spec, imageName }) } : {}),
  });
}

/** `tail`: Docker takes anything that is no number, and a negative one, for all. */
function lineCount(text: string | undefined): number | undefined {
  return text !== undefined && /^[+]?\d+$/.test(text) ? Number(text) : undefined;
}
