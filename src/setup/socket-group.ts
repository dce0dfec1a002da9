/** Makes the group whose members may use the Docker API without being root. Nobody is put in it: that is for the machine's owner to do. */
import { messageOf } from '../common/errors.js';
import { SOCKET_GROUP, socketGroup } from '../common/socket-group.js';
import { say } from './console.js';
import { run } from './packages.js';

/** Makes it where it is missing. A machine on which that fails goes without: its sockets are root's alone. */
export async function provideSocketGroup(): Promise<void> {
  if (socketGroup() !== null) return;
  try {
    await run('groupadd', ['--system', SOCKET_GROUP]);
  } catch (error) {
    // Another start may have been quicker.
    if (socketGroup() === null)
      say(`There is no group "${SOCKET_GROUP}", so only root can use the Docker socket: ${messageOf(error)}`);
  }
}
