/** `GET /exec/{id}/json` */
import { CAPABILITIES } from '../../../port-layer/index.js';
import type { KnownExec } from './exec-service.js';

export function execView(exec: KnownExec): object {
  const { id, containerId, process, running, exitCode, pid, openedStreams, detachKeys } = exec;
  const [entrypoint = '', ...args] = process.args;
  return {
    ID: id,
    Running: running,
    ExitCode: exitCode,
    ProcessConfig: {
      tty: process.tty,
      entrypoint,
      arguments: args,
      privileged: process.capabilities?.length === CAPABILITIES.length,
      ...(process.user === '' ? {} : { user: process.user }),
    },
    OpenStdin: openedStreams.stdin,
    OpenStderr: openedStreams.stderr,
    OpenStdout: openedStreams.stdout,
    CanRemove: false,
    ContainerID: containerId,
    DetachKeys: Buffer.from(detachKeys).toString('base64'),
    Pid: pid,
  };
}
