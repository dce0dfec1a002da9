/** The bodies of `POST /containers/create` and `/exec`. They are checked once, here; as in Docker, unknown fields are ignored. */
import { z } from 'zod';
import { goType, int, uint } from '../../../../src/common/go-json.js';
import { RUN_CONFIG_FIELDS } from '../../../image/index.js';
import { bool, text, texts, words } from './go-fields.js';
import { hostConfigSchema } from './host-options.js';

export const endpointSchema = goType(
  'network.EndpointSettings',
  z.object({
    IPAMConfig: goType(
      'network.EndpointIPAMConfig',
      z.object({ IPv4Address: text, IPv6Address: text, LinkLocalIPs: texts }),
    ).nullish(),
    Links: texts,
    Aliases: texts,
    MacAddress: text,
    DriverOpts: words,
    GwPriority: int.nullish(),
    NetworkID: text,
    EndpointID: text,
    Gateway: text,
    IPAddress: text,
    IPPrefixLen: int.nullish(),
    IPv6Gateway: text,
    GlobalIPv6Address: text,
    GlobalIPv6PrefixLen: int.nullish(),
    DNSNames: texts,
  }),
);

export const createSchema = goType(
  'container.CreateRequest',
  z.object({
    ...RUN_CONFIG_FIELDS,
    HostConfig: hostConfigSchema.nullish(),
    NetworkingConfig: goType(
      'network.NetworkingConfig',
      z.object({ EndpointsConfig: z.record(z.string(), endpointSchema.nullable()).nullish() }),
    ).nullish(),
  }),
);

export const execSchema = goType(
  'container.ExecOptions',
  z.object({
    AttachStdin: bool,
    AttachStdout: bool,
    AttachStderr: bool,
    DetachKeys: text,
    Tty: bool,
    Env: texts,
    Cmd: texts,
    Privileged: bool,
    User: text,
    WorkingDir: text,
    ConsoleSize: z.tuple([uint, uint]).nullish(),
  }),
);

export const execStartSchema = goType(
  'container.ExecStartOptions',
  z.object({ Detach: bool, Tty: bool, ConsoleSize: z.tuple([uint, uint]).nullish() }),
);

export type CreateBody = z.infer<typeof createSchema>;
