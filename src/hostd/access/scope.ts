/**
 * What of the datastore and of the machine's sockets belongs to a virtual container host. It stands in its endpoint's configuration,
 * which only an administrator may change, as JSON under {@link SCOPE_KEY}.
 */
import { z } from 'zod';

export const ENDPOINT_KEY = 'caisson.appliance';
export const SCOPE_KEY = 'caisson.scope';
export const OWNER_KEY = 'caisson.vch';

const scope = z.object({
  /** Datastore paths of directories: what is in them is the host's. */
  files: z.array(z.string()),
  /** Datastore paths of directories: the host's machines get new directories in these. */
  machines: z.array(z.string()),
  /** Absolute paths of directories: serial ports of the host's machines may be connected to sockets in these. */
  sockets: z.array(z.string()),
});

export type Scope = z.infer<typeof scope>;

/** The scope in an endpoint's configuration; null where none is or it cannot be read. */
export function scopeOf(extraConfig: ReadonlyMap<string, string>): Scope | null {
  const text = extraConfig.get(SCOPE_KEY);
  if (text === undefined) return null;
  try {
    return scope.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** True for a machine that hostd runs as a process. */
export function isEndpointConfig(extraConfig: ReadonlyMap<string, string>): boolean {
  return extraConfig.has(ENDPOINT_KEY);
}
