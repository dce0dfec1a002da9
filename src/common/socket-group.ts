/** The group of users who may use the Docker API of virtual container hosts on this machine, over their unix sockets. */
import { readFileSync } from 'node:fs';

/** Like Docker's group `docker`. Its members are root in all containers. */
export const SOCKET_GROUP = 'caisson';

/** The group's number, or null if there is no such group. Only local groups count, not those of directory services. See group(5). */
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
