/** Finds QEMU's devices in its object model (QOM). */
import { isKind } from '../../common/errors.js';
import type { Qmp } from './qmp.js';

/** Where QEMU keeps devices that were given an id. */
const NAMED = '/machine/peripheral';
/** Where it keeps the others. */
const ANONYMOUS = '/machine/peripheral-anon';

/** More than fit into a VM: a QEMU that lists more has been taken over. */
const MOST_DEVICES = 300;

/** The ids of devices. */
export function deviceIds(qmp: Qmp): Promise<string[]> {
  return children(qmp, NAMED);
}

/** The path of the device with that id; null if there is none. */
export async function deviceOfId(qmp: Qmp, id: string): Promise<string | null> {
  return (await deviceIds(qmp)).includes(id) ? `${NAMED}/${id}` : null;
}

/** The path of the device, with or without an id, whose property has that value; null if there is none. */
export async function deviceWith(qmp: Qmp, property: string, value: string): Promise<string | null> {
  for (const place of [NAMED, ANONYMOUS])
    for (const name of await children(qmp, place)) {
      const path = `${place}/${name}`;
      const found = await qmp.command('qom-get', { path, property }).catch((error: unknown) => {
        // A device of another kind has no such property.
        if (isKind(error, 'internal')) return null;
        throw error;
      });
      if (found === value) return path;
    }
  return null;
}

async function children(qmp: Qmp, path: string): Promise<string[]> {
  const list = await qmp.command('qom-list', { path });
  if (!Array.isArray(list)) return [];
  return list
    .slice(0, MOST_DEVICES)
    .flatMap(({ name, type }: { name?: unknown; type?: unknown }) =>
      typeof name === 'string' && String(type).startsWith('child<') ? [name] : [],
    );
}
