/** Credentials for a registry, as clients send them in the header `X-Registry-Auth`. */
import type { Request } from 'express';
import { z } from 'zod';
import { goType } from '../../../src/common/go-json.js';
import type { RegistryAuth } from '../../image/index.js';

export const authSchema = goType(
  'registry.AuthConfig',
  z.object({
    username: z.string().optional(),
    password: z.string().optional(),
    auth: z.string().optional(),
    serveraddress: z.string().optional(),
    identitytoken: z.string().optional(),
    registrytoken: z.string().optional(),
  }),
);

/** Those of a request; undefined without. */
export function registryAuth(request: Request): RegistryAuth | undefined {
  const header = request.headers['x-registry-auth'];
  if (typeof header !== 'string' || header === '') return undefined;
  try {
    return authSchema.parse(JSON.parse(Buffer.from(header, 'base64url').toString('utf8') || '{}'));
  } catch {
    // Like Docker, treats unreadable credentials as none.
    return undefined;
  }
}
