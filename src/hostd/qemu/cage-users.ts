/**
 * Numbers of the users that QEMUs run as. Which one a QEMU gets is decided by its launcher, which keeps it from all others of the
 * machine as long as that QEMU runs (`launcher/users.c`). Each has a group of the same number; they need no names.
 */
import { existsSync, readFileSync } from 'node:fs';
import { usersOfProcesses } from '../process-id.js';

/** Numbers from one to another, both included. */
export type UserRange = [first: number, last: number];

/** What a container's user namespace usually has, less `nobody` and the number that 16 bits cannot tell from it; then numbers that nobody gives away. */
const RANGES: readonly UserRange[] = [
  [64_101, 65_100],
  [65_101, 65_533],
  [66_101, 69_999],
];
/** From here on those are looked for that wait in the warm pool: a number tells people which of them a QEMU was. */
const FIRST_SPARE = 65_101;
/** As many as the launcher takes. */
const MOST = 60;

/** Users that may be taken: not those of processes that run by now, which an older version may have started, and not those with names. */
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
  // The longest: between users that are taken there may be many of one number.
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
