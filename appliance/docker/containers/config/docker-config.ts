/**
 * The fields of a container's `Config`: the type that is kept with it and that `inspect` shows, and how the request is merged with the image.
 * Requests and images have the same fields, of looser types: `RUN_CONFIG_FIELDS` of `appliance/image`.
 */
import { z } from 'zod';
import { invalid } from '../../../../src/common/errors.js';
import { shortId } from '../../../../src/common/ids.js';
import type { Image, ImageConfig } from '../../../image/index.js';
import { mergeHealthConfig } from '../../health/health-check.js';
import type { CreateBody } from './create-body.js';
import { mainEndpoint } from './wanted-networks.js';

type OfImage = ImageConfig['config'];

/** A field. `merge` gives undefined where `inspect` shows nothing. */
interface ConfigField<S extends z.ZodType> {
  kept: S;
  merge(request: CreateBody, image: OfImage, id: string): z.infer<S>;
}

const field = <S extends z.ZodType>(kept: S, merge: ConfigField<S>['merge']): ConfigField<S> => ({ kept, merge });

const text = z.string().default('');
const flag = z.boolean().default(false);
const texts = z.array(z.string());
const list = texts.nullable().default(null);
/** Keys are all that a set of ports or paths has. */
const keySet = z.record(
  z.string(),
  z.custom<object>((value) => typeof value === 'object' && value !== null),
);
const keys = (value: object | null | undefined): Record<string, object> => ({ ...value });

/** In the order in which they are shown. The defaults are for records of versions that lacked a field. */
const CONFIG_OPTIONS = {
  Hostname: field(text, ({ Hostname }, _image, id) => Hostname || shortId(id)),
  Domainname: field(text, ({ Domainname }) => Domainname ?? ''),
  User: field(text, ({ User }, image) => User || image.User || ''),
  AttachStdin: field(flag, ({ AttachStdin }) => AttachStdin === true),
  AttachStdout: field(flag, ({ AttachStdout }) => AttachStdout === true),
  AttachStderr: field(flag, ({ AttachStderr }) => AttachStderr === true),
  Tty: field(flag, ({ Tty }) => Tty === true),
  OpenStdin: field(flag, ({ OpenStdin }) => OpenStdin === true),
  StdinOnce: field(flag, ({ StdinOnce }) => StdinOnce === true),
  Env: field(texts.default([]), ({ Env }, image) => mergeEnv(Env ?? [], image.Env ?? [])),
  Cmd: field(list, (request, image) => command(request, image).cmd),
  Image: field(text, ({ Image }) => Image ?? ''),
  Volumes: field(keySet.nullable().default(null), ({ Volumes }, image) => {
    const volumes = { ...image.Volumes, ...keys(Volumes) };
    return Object.keys(volumes).length === 0 ? (image.Volumes ?? null) : volumes;
  }),
  WorkingDir: field(text, ({ WorkingDir }, image) => WorkingDir || image.WorkingDir || ''),
  Entrypoint: field(list, (request, image) => command(request, image).entrypoint),
  OnBuild: field(list, ({ OnBuild }) => OnBuild ?? null),
  Labels: field(z.record(z.string(), z.string()).default({}), ({ Labels }, image) => ({ ...image.Labels, ...Labels })),
  ExposedPorts: field(keySet.optional(), ({ ExposedPorts }, image) => {
    const ports = { ...image.ExposedPorts, ...keys(ExposedPorts) };
    return Object.keys(ports).length === 0 ? undefined : ports;
  }),
  StopSignal: field(z.string().optional(), ({ StopSignal }, image) => StopSignal || image.StopSignal || undefined),
  ArgsEscaped: field(z.boolean().optional(), ({ ArgsEscaped }) => (ArgsEscaped === true ? true : undefined)),
  NetworkDisabled: field(z.boolean().optional(), ({ NetworkDisabled }) =>
    NetworkDisabled === true ? true : undefined,
  ),
  StopTimeout: field(z.number().optional(), ({ StopTimeout }) => StopTimeout ?? undefined),
  Healthcheck: field(
    z
      .object({
        Test: texts.nullish(),
        Interval: z.number().nullish(),
        Timeout: z.number().nullish(),
        StartPeriod: z.number().nullish(),
        StartInterval: z.number().nullish(),
        Retries: z.number().nullish(),
      })
      .optional(),
    ({ Healthcheck }, image) => mergeHealthConfig(Healthcheck, image.Healthcheck),
  ),
  MacAddress: field(
    z.string().optional(),
    (request) => request.MacAddress || mainEndpoint(request)?.MacAddress || undefined,
  ),
  /** An image's shell is for building on that image. */
  Shell: field(texts.optional(), ({ Shell }) => Shell ?? undefined),
};

type Options = typeof CONFIG_OPTIONS;

/** `Config` as it is kept with a container. */
export const dockerConfigSchema = z.object(
  Object.fromEntries(Object.entries(CONFIG_OPTIONS).map(([name, { kept }]) => [name, kept])) as {
    [F in keyof Options]: Options[F]['kept'];
  },
);

/** The configuration of a container as `inspect` shows it. */
export type DockerConfig = z.infer<typeof dockerConfigSchema>;

/** Merges a request with its image as Docker does. @throws invalid in Docker's words */
export function mergeConfig(request: CreateBody, image: Pick<Image, 'config'>, id: string): DockerConfig {
  const merged = Object.entries(CONFIG_OPTIONS).map(
    ([name, { merge }]) => [name, merge(request, image.config.config, id)] as const,
  );
  return Object.fromEntries(merged.filter(([, value]) => value !== undefined)) as DockerConfig;
}

/** Entrypoint and command. An entrypoint of the request drops the image's command; `--entrypoint ""` (one empty text) clears both. */
function command(request: CreateBody, image: OfImage): { entrypoint: string[] | null; cmd: string[] | null } {
  const given = request.Entrypoint ?? null;
  const cmd = (request.Cmd ?? []).length > 0 ? request.Cmd! : null;
  const ofImage = image.Entrypoint?.length === 1 && image.Entrypoint[0] === '' ? null : (image.Entrypoint ?? null);
  if (given === null) return { entrypoint: ofImage, cmd: cmd ?? image.Cmd ?? null };
  // An empty list leaves the command alone.
  if (given.length === 0) return { entrypoint: [], cmd: cmd ?? image.Cmd ?? null };
  return { entrypoint: given.length === 1 && given[0] === '' ? null : given, cmd };
}

function variable(entry: string): string {
  const [name = ''] = entry.split('=', 1);
  if (name === '') throw invalid(`invalid environment variable: ${entry}`);
  return name;
}

/** The request's environment, then what the image has besides: the order in which `inspect` shows it. @throws invalid */
export function mergeEnv(request: string[], image: string[]): string[] {
  const given = new Set(request.map(variable));
  // The image's own entries are not checked.
  return [...request, ...image.filter((entry) => !given.has(entry.split('=', 1)[0]!))];
}
