/**
 * An image's configuration (image-spec config.md), read as Docker reads it: with Go's `encoding/json` into its `Image` struct, which
 * accepts much that the specification does not.
 */
import { z } from 'zod';
import { invalid } from '../../src/common/errors.js';
import { GoJsonError, goType, int64, readGoJson } from '../../src/common/go-json.js';
import { parseGoTime } from '../../src/common/go-time.js';
import { RUN_CONFIG_FIELDS } from './run-config.js';
import type { ImageConfig } from './types.js';

const text = z.string().nullish();
const texts = z.array(z.string()).nullish();
const bool = z.boolean().nullish();
const time = goType('time.Time', z.string()).nullish();

const containerConfig = goType('container.Config', z.object(RUN_CONFIG_FIELDS));

const historySchema = goType(
  'v1.History',
  z.object({ created: time, created_by: text, author: text, comment: text, empty_layer: bool }),
);

const configSchema = goType(
  'image.Image',
  z.object({
    id: text,
    parent: goType('image.ID', z.string()).nullish(),
    comment: text,
    created: time,
    container: text,
    container_config: containerConfig.nullish(),
    docker_version: text,
    author: text,
    config: containerConfig.nullish(),
    architecture: text,
    variant: text,
    os: text,
    Size: int64.nullish(),
    rootfs: goType(
      'image.RootFS',
      z.object({ type: text, diff_ids: z.array(goType('layer.DiffID', z.string())).nullish() }),
    ).nullish(),
    history: z.array(historySchema).nullish(),
    'os.version': text,
    'os.features': texts,
  }),
);

/**
 * Parses an image's configuration. Missing and `null` fields are left out, except that `os` and `architecture` become ''.
 * @throws invalid in Docker's words
 */
export function parseConfig(body: Buffer): ImageConfig {
  const read = decode(body.toString('utf8'));
  if (!read.rootfs) throw invalid('invalid rootfs in image configuration');
  const { os, architecture, config, history, rootfs } = read;
  const diffIds = rootfs.diff_ids ?? [];
  // A malformed digest cannot match any layer.
  if (!diffIds.every((id) => /^sha256:[0-9a-f]{64}$/.test(id)))
    throw invalid("layers from manifest don't match image configuration");
  return {
    ...said(read),
    os: os ?? '',
    architecture: architecture ?? '',
    config: config ? runConfig(config) : {},
    ...(read.container_config ? { container_config: runConfig(read.container_config) } : {}),
    rootfs: { type: rootfs.type ?? '', diff_ids: diffIds },
    ...(history ? { history: history.map(said) } : {}),
  } as ImageConfig;
}

/** The further checks that Docker makes when it stores an image. @throws invalid in Docker's words */
export function checkConfig(config: ImageConfig): void {
  const times = [config.created, ...(config.history ?? []).map(({ created }) => created)];
  for (const text of times) {
    if (text === undefined) continue;
    try {
      parseGoTime(text);
    } catch (error) {
      throw invalid((error as Error).message, error);
    }
  }
  const layers = (config.history ?? []).filter((entry) => entry.empty_layer !== true).length;
  if (layers > config.rootfs.diff_ids.length) throw invalid('too many non-empty layers in History section');
}

function decode(text: string): z.infer<typeof configSchema> {
  try {
    return readGoJson(text, configSchema);
  } catch (error) {
    if (error instanceof GoJsonError) throw invalid(unmarshalWords(error, text), error);
    throw invalid(`invalid image configuration: ${(error as Error).message}`, error);
  }
}

/** The error as Go words it when it parses a whole text instead of a stream. */
function unmarshalWords(error: GoJsonError, text: string): string {
  if (error.kind === 'empty' || error.message === 'unexpected EOF') return 'unexpected end of JSON input';
  if (error.kind !== 'trailing') return error.message;
  return `invalid character '${characterAfter(text)}' after top-level value`;
}

/** The first character after a text's value; `JSON.parse` reports its position. */
function characterAfter(text: string): string {
  try {
    JSON.parse(text);
  } catch (error) {
    const at = /at position (\d+)/.exec((error as Error).message)?.[1];
    if (at !== undefined) return text.charAt(Number(at));
  }
  return '';
}

/** A container configuration. Objects that Go reads as sets keep only their keys. */
function runConfig(config: NonNullable<z.infer<typeof containerConfig>>): object {
  const set = (keys: object | null | undefined) =>
    keys ? Object.fromEntries(Object.keys(keys).map((key) => [key, {}])) : undefined;
  return said({
    ...config,
    ExposedPorts: set(config.ExposedPorts),
    Volumes: set(config.Volumes),
    Healthcheck: config.Healthcheck ? said(config.Healthcheck) : undefined,
  });
}

/** The object without its undefined and null members. */
function said<T extends object>(object: T): Partial<T> {
  return Object.fromEntries(
    Object.entries(object).filter(([, value]) => value !== undefined && value !== null),
  ) as Partial<T>;
}
