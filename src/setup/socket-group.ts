/** Creates the group whose members may use the Docker API without being root. Adding members is up to the machine's owner. */
import { messageOf } from '../common/errors.js';
import { SOCKET_GROUP, socketGroup } from '../common/socket-group.js';
import { say } from './console.js';
import { run } from './packages.js';

/** Creates the group if it is missing. If that fails, only root can use the sockets. */
export async function provideSocketGroup(): Promise<void> {
  if (socketGroup() !== null) return;
  try {
    await run('groupadd', ['--system', SOCKET_GROUP]);
  } catch (error) {
    // Another `npm start` may have been faster.
    if (socketGroup() === null)
      say(`There is no group "${SOCKET_GROUP}", so only root can use the Docker socket: ${messageOf(error)}`);
  }
}
