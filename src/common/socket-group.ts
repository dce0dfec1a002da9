/** The group of users who may use the Docker API of virtual container hosts on this machine, over their unix sockets. */
import { readFileSync } from 'node:fs';

/** As Docker has a group `docker`. Whoever is in it is root in all containers. */
export const SOCKET_GROUP = 'caisson';

/** Its number, or null where there is none. It is a group of the system: those of directory services do not count. See group(5). */
export function socketGroup(file = '/etc/group'): number | null {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return null;
  }
  for (const line of text.split('\n')) {
    const [name, , number = ''] = line.split(':');
    if (name === SOCKET_GROUP && /^\d+$/.test(number)) return Number(number);
  }
  return null;
}
