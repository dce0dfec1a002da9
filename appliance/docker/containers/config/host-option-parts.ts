/** Types and checks of single options that are too long for a row of the table in `host-options.ts`. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { type ContainerSpec, HOST_GATEWAY } from '../../../../port-layer/index.js';
import { invalid, unsupported } from '../../../../src/common/errors.js';
import { goType, int, int64, uint16 } from '../../../../src/common/go-json.js';
import { text, texts, words } from '../../values/go-fields.js';

export const portBindings = z.record(
  z.string(),
  goType(
    '[]nat.PortBinding',
    z.array(goType('nat.PortBinding', z.object({ HostIp: z.string().optional(), HostPort: z.string().optional() }))),
  ).nullable(),
);

export const restartPolicy = goType(
  'container.RestartPolicy',
  z.object({ Name: goType('container.RestartPolicyMode', z.string()).optional(), MaximumRetryCount: int.optional() }),
).nullish();

export const logConfig = goType(
  'container.LogConfig',
  z.object({ Type: z.string().optional(), Config: words }),
).nullish();

export const ulimits = z
  .array(goType('units.Ulimit', z.object({ Name: z.string(), Soft: int64, Hard: int64 })))
  .nullish();

export const deviceWeights = z
  .array(goType('blkiodev.WeightDevice', z.object({ Path: text, Weight: uint16.nullish() })))
  .nullish();

export const deviceRates = z
  .array(goType('blkiodev.ThrottleDevice', z.object({ Path: text, Rate: goType('uint64', z.number()).nullish() })))
  .nullish();

export const devices = z
  .array(
    goType('container.DeviceMapping', z.object({ PathOnHost: text, PathInContainer: text, CgroupPermissions: text })),
  )
  .nullish();

export const deviceRequests = z
  .array(
    goType(
      'container.DeviceRequest',
      z.object({
        Driver: text,
        Count: int.nullish(),
        DeviceIDs: texts,
        Capabilities: z.array(z.array(z.string())).nullish(),
        Options: words,
      }),
    ),
  )
  .nullish();

/** A check for texts of which Docker knows only some. */
export function oneOf(pattern: RegExp, wrong: (value: string) => string): (value: string) => void {
  return (value) => {
    if (!pattern.test(value)) throw invalid(wrong(value));
  };
}

/** @throws unsupported in Docker's words: no driver has any device */
export function noDeviceDriver(requests: NonNullable<z.infer<typeof deviceRequests>>): void {
  for (const { Driver: driver, Capabilities: wanted } of requests)
    throw unsupported(
      `HostConfig.DeviceRequests is not implemented: could not select device driver "${driver ?? ''}" with capabilities: [${(wanted ?? []).map((all) => `[${all.join(' ')}]`).join(' ')}]`,
    );
}

/** `--add-host`: `name:address`, as Docker's API has it; the CLI converts other forms to that. @throws invalid in Docker's words */
export function extraHost(entry: string): ContainerSpec['extraHosts'][number] {
  const [, host, address] = /^([^:]+):(.*)$/s.exec(entry) ?? [];
  if (host === undefined || address === undefined) throw invalid(`bad format for add-host: "${entry}"`);
  if (address !== HOST_GATEWAY && isIP(address) === 0) throw invalid(`invalid IP address in add-host: "${address}"`);
  return { host, address };
}

/** Bytes of /dev/shm. */
export const DEFAULT_SHM = 64 * 2 ** 20;

/** Limits of every process, besides those that the request sets. */
export const DEFAULT_LIMITS: ContainerSpec['process']['rlimits'] = [
  { name: 'nofile', soft: 1_048_576, hard: 1_048_576 },
];

/** `--ulimit`, with the usual ones that it does not set. @throws invalid */
export function processLimits(given: NonNullable<z.infer<typeof ulimits>>): ContainerSpec['process']['rlimits'] {
  const limits = given.map(({ Name, Soft, Hard }) => {
    if (Hard !== -1 && (Soft === -1 || Soft > Hard))
      throw invalid(`ulimit soft limit must be less than or equal to hard limit: ${Soft} > ${Hard}`);
    return { name: Name, soft: Soft, hard: Hard };
  });
  return [...DEFAULT_LIMITS.filter((usual) => !limits.some(({ name }) => name === usual.name)), ...limits];
}

/** `--dns`, `--dns-search`, `--dns-option`. Empty lists leave the machine's own settings, as in Docker. */
export function setDns(spec: ContainerSpec, given: Partial<NonNullable<ContainerSpec['dns']>>): void {
  if (Object.values(given).every((list) => list.length === 0)) return;
  spec.dns = { servers: [], search: [], options: [], ...spec.dns, ...given };
}
