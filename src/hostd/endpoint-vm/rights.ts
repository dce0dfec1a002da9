/** Commands that run with fewer rights, by setpriv (util-linux). */
import { execFileSync } from 'node:child_process';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';

const log = logger('endpoint-vm');
const NO_CAPABILITIES = ['--inh-caps=-all', '--ambient-caps=-all'];
const NO_GAIN = '--no-new-privs';
const UNBOUND = '--bounding-set=-all';

/**
 * The capabilities that a porter needs: it binds low ports, gives a socket a group and puts it into a directory of the endpoint's, enters
 * a network namespace and sets addresses and rules there, and starts and ends the relay, which becomes another user and keeps the right to send
 * from any address.
 */
const PORTER = 'net_bind_service net_raw setgid setuid setpcap dac_override sys_admin net_admin kill'.split(' ');

let bounding: boolean | undefined;

/** Whether the bounding set of capabilities can be changed here; not every container allows it. */
function canBound(): boolean {
  if (bounding === undefined) {
    try {
      execFileSync('setpriv', [NO_GAIN, ...NO_CAPABILITIES, UNBOUND, 'true'], { stdio: ['ignore', 'ignore', 'pipe'] });
      bounding = true;
    } catch (error) {
      bounding = false;
      log.warn(
        { err: messageOf(error) },
        'the capability bounding set cannot be changed here: only their user id confines endpoints',
      );
    }
  }
  return bounding;
}

/**
 * The beginning of a command that runs as that user and group, without other groups, without capabilities and without a way to gain any.
 * @param dies whether it is killed when the process that started it has ended
 * @param capabilities those that it has all the same
 */
export function asUser(number: number, dies = false, capabilities: readonly string[] = []): string[] {
  const more = capabilities.map((name) => `,+${name}`).join('');
  return [
    'setpriv',
    `--reuid=${number}`,
    `--regid=${number}`,
    '--clear-groups',
    NO_GAIN,
    ...NO_CAPABILITIES.map((option) => option + more),
    ...(canBound() ? [UNBOUND + more] : []),
    ...(dies ? ['--pdeathsig=KILL'] : []),
    '--',
  ];
}

/** The beginning of a porter's command: root, with the capabilities it takes. */
export function asPorter(): string[] {
  const kept = canBound() ? [`${UNBOUND},${PORTER.map((name) => `+${name}`).join(',')}`] : [];
  return ['setpriv', NO_GAIN, ...NO_CAPABILITIES, ...kept, '--'];
}
