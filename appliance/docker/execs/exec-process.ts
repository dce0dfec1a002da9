/** The process of an exec or a health probe. */
import { CAPABILITIES, type ContainerInfo, type ProcessSpec } from '../../../port-layer/index.js';
import { processEnv, replaceEnv } from '../containers/config/process-env.js';
import { intactRecord } from '../containers/container-record.js';

/** What an exec asks for. What it leaves out is taken from the container's main process. */
export interface WantedProcess {
  args: string[];
  env?: string[];
  cwd?: string | null | undefined;
  user?: string | null | undefined;
  tty?: boolean;
  openStdin?: boolean;
  /** With all capabilities. */
  privileged?: boolean;
}

/** A process to run beside a container's main one. */
export function execProcess(container: ContainerInfo, wanted: WantedProcess): ProcessSpec {
  const { process } = container.spec;
  const tty = wanted.tty === true;
  const capabilities = wanted.privileged === true ? [...CAPABILITIES] : process.capabilities;
  return {
    args: wanted.args,
    env: replaceEnv(processEnv(intactRecord(container).config, tty, container.spec.links?.env), wanted.env ?? []),
    cwd: wanted.cwd || process.cwd,
    user: wanted.user || process.user,
    additionalGroups: wanted.user ? [] : process.additionalGroups,
    tty,
    openStdin: wanted.openStdin === true,
    rlimits: process.rlimits,
    ...(capabilities === undefined ? {} : { capabilities }),
    noNewPrivileges: process.noNewPrivileges === true,
    oomScoreAdj: process.oomScoreAdj ?? 0,
    ...(process.umask === undefined ? {} : { umask: process.umask }),
  };
}

/** A command as events show it. */
export function commandLine({ args: [entrypoint = '', ...args] }: ProcessSpec): string {
  return `${entrypoint} ${args.join(' ')}`;
}
