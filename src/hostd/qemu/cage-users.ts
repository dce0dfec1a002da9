/**
 * Ids of the users that QEMUs run as. A QEMU's launcher picks one and keeps every other launcher on the machine from using it while that
 * QEMU runs (`launcher/users.c`). Each user has a group with the same number; neither needs a name.
 */
import { existsSync, readFileSync } from 'node:fs';
import { usersOfProcesses } from '../../common/process-id.js';

/** A range of ids, both ends included. */
export type UserRange = [first: number, last: number];

/**
 * First the ids that a container's user namespace usually has, without `nobody` and the one that looks like it in 16 bits; then ids that
 * nobody assigns.
 */
const RANGES: readonly UserRange[] = [
  [64_101, 65_100],
  [65_101, 65_533],
  [66_101, 69_999],
];
/** Ids of spare VMs are looked for from here on, so that people can tell them by the id. */
const FIRST_SPARE = 65_101;
/** As many ranges as the launcher takes. */
const MOST = 60;

/** Ids that may be used: not those of running processes, which an older version may have started, and not those with names. */
export function freeUsers(taken: ReadonlySet<number> = takenOnMachine()): UserRange[] {
  const free: UserRange[] = [];
  for (const [first, last] of RANGES) {
    let begin = first;
    for (const user of [...taken].filter((one) => one >= first && one <= last).sort((a, b) => a - b)) {
      if (user > begin) free.push([begin, user - 1]);
      begin = user + 1;
    }
    if (begin <= last) free.push([begin, last]);
  }
  // The longest ranges are kept: between used ids there may be many ranges of just one.
  return free
    .sort((a, b) => b[1] - b[0] - (a[1] - a[0]))
    .slice(0, MOST)
    .sort((a, b) => a[0] - b[0]);
}

/** The order in which they are tried. */
export function inOrder(free: readonly UserRange[], spare: boolean): UserRange[] {
  const ofSpares = free.filter(([first]) => first >= FIRST_SPARE);
  const others = free.filter(([first]) => first < FIRST_SPARE);
  return spare ? [...ofSpares, ...others] : [...others, ...ofSpares.slice().reverse()];
}

function takenOnMachine(): Set<number> {
  const taken = usersOfProcesses();
  for (const file of ['/etc/passwd', '/etc/group'])
    if (existsSync(file))
      for (const line of readFileSync(file, 'utf8').split('\n')) taken.add(Number(line.split(':')[2]));
  return taken;
}
