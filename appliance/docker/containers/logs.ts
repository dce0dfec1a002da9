/** Reads the log of a container. */
import type { ContainerInfo, InteractionService, LogOptions, OutputChunk } from '../../../port-layer/index.js';
import { encodeDetails, renderLines } from '../logging/log-frames.js';
import { logAttributes, logDriver } from '../logging/log-options.js';
import { renderTag } from '../logging/log-tag.js';
import { recordOf } from './container-record.js';

/** What a client wants to read, and how its lines are rendered. */
export interface LogRequest extends LogOptions {
  timestamps: boolean;
  /** With the container's attributes before each line. */
  details: boolean;
}

/** The log in pieces, as the answer has it. @throws unsupported when nothing is kept */
export async function readLogs(
  interaction: Pick<InteractionService, 'logs'>,
  container: ContainerInfo,
  { timestamps, details, ...options }: LogRequest,
  signal: AbortSignal,
): Promise<AsyncIterable<Buffer>> {
  const { id, process } = container.spec;
  const format = { tty: process.tty, timestamps, details: details ? attributesOf(container) : null };
  const batches = (await interaction.logs(id, options, signal)) as AsyncIterable<OutputChunk[]>;
  return (async function* () {
    for await (const batch of batches) yield renderLines(batch, format);
  })();
}

/** The attributes that a container's log options choose. Only `json-file` keeps them with the lines. */
function attributesOf(container: ContainerInfo): string {
  const { config: kept, hostConfig } = recordOf(container);
  const { Labels: labels, Env: env, Image: imageName } = kept;
  const config = hostConfig.LogConfig;
  if (logDriver(config) !== 'json-file') return '';
  const tag = config?.Config?.tag;
  return encodeDetails({
    ...logAttributes(config, labels ?? {}, env ?? []),
    ...(tag ? { tag: renderTag(tag, { ...container.spec, imageName }) } : {}),
  });
}
