/**
 * Which files of the datastore and which sockets of the machine belong to a virtual container host. This is in its endpoint's
 * configuration, as JSON under {@link SCOPE_KEY}; only an administrator may change it.
 */
import { z } from 'zod';

export const ENDPOINT_KEY = 'caisson.appliance';
export const SCOPE_KEY = 'caisson.scope';
export const OWNER_KEY = 'caisson.vch';

const scope = z.object({
  /** Datastore paths of directories whose contents belong to the virtual container host. */
  files: z.array(z.string()),
  /** Datastore paths of directories in which its VMs get new directories. */
  machines: z.array(z.string()),
  /** Absolute paths of directories with sockets that its VMs' serial ports may be connected to. */
  sockets: z.array(z.string()),
});

export type Scope = z.infer<typeof scope>;

/** The scope in an endpoint's configuration; null if there is none or it cannot be read. */
export function scopeOf(extraConfig: ReadonlyMap<string, string>): Scope | null {
  const text = extraConfig.get(SCOPE_KEY);
  if (text === undefined) return null;
  try {
    return scope.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** True for a VM that hostd runs as a process. */
export function isEndpointConfig(extraConfig: ReadonlyMap<string, string>): boolean {
  return extraConfig.has(ENDPOINT_KEY);
}
