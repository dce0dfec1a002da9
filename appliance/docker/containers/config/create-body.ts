/** The body of `POST /containers/create`. It is checked once, here; as in Docker, unknown fields are ignored. */
import { z } from 'zod';
import { goType } from '../../../../src/common/go-json.js';
import { RUN_CONFIG_FIELDS } from '../../../image/index.js';
import { endpointSchema } from '../../networks/endpoint-request.js';
import { hostConfigSchema } from './host-options.js';

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

export type CreateBody = z.infer<typeof createSchema>;
