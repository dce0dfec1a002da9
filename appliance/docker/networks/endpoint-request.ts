/** What requests say of a container's endpoint in a network: in `NetworkingConfig` of create, and in `POST /networks/{id}/connect`. */
import { z } from 'zod';
import { goType, int } from '../../../src/common/go-json.js';
import { text, texts, words } from '../values/go-fields.js';

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

export type EndpointRequest = z.infer<typeof endpointSchema>;
