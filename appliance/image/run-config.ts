/**
 * `container.Config` of Docker's API: how a process is run. Requests that create containers and the configurations of images have the same
 * fields, and Docker reads both with the same types. Fields that the engine does not use are here too, because Docker refuses them if they
 * have another type.
 */
import { z } from 'zod';
import { duration, goType, int, nothing, strSlice } from '../../src/common/go-json.js';

const text = z.string().nullish();
const texts = z.array(z.string()).nullish();
/** Old clients send a list as a single string. */
const command = strSlice.nullish();
const bool = z.boolean().nullish();
/** Nanoseconds. */
const time = duration.nullish();

export const RUN_CONFIG_FIELDS = {
  Hostname: text,
  Domainname: text,
  User: text,
  AttachStdin: bool,
  AttachStdout: bool,
  AttachStderr: bool,
  ExposedPorts: goType('nat.PortSet', z.record(z.string(), nothing)).nullish(),
  Tty: bool,
  OpenStdin: bool,
  StdinOnce: bool,
  Env: texts,
  Cmd: command,
  Healthcheck: goType(
    'container.HealthConfig',
    z.object({
      Test: texts,
      Interval: time,
      Timeout: time,
      StartPeriod: time,
      StartInterval: time,
      Retries: int.nullish(),
    }),
  ).nullish(),
  ArgsEscaped: bool,
  Image: text,
  Volumes: z.record(z.string(), nothing).nullish(),
  WorkingDir: text,
  Entrypoint: command,
  NetworkDisabled: bool,
  MacAddress: text,
  OnBuild: texts,
  Labels: z.record(z.string(), z.string()).nullish(),
  StopSignal: text,
  StopTimeout: int.nullish(),
  Shell: command,
};
