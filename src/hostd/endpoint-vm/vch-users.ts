/**
 * Ids of the users that endpoints run as: two for each VM, one for the endpoint and one for the gateway's worker, each with a group of the
 * same number. They need no names. A VM keeps its ids, so that its files stay its own.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { insufficientResources } from '../../common/errors.js';
import { usersOfProcesses } from '../../common/process-id.js';
import { writeWhole } from '../../common/write-whole.js';

/** Below those of QEMUs. */
const FIRST = 63_100;
const PAIRS = 500;

/** The users of a VM. */
export interface VchUser {
  endpoint: number;
  worker: number;
}

export class VchUsers {
  private queue: Promise<unknown> = Promise.resolve();

  /**
   * @param file where numbers are kept, by the VM's directory: root's alone
   * @param elsewhere numbers that are taken besides, such as those of other hosts of this machine
   * @param ofProcesses numbers that processes have
   */
  constructor(
    private readonly file: string,
    private readonly elsewhere: () => Set<number> = takenOnMachine,
    private readonly ofProcesses: () => Set<number> = usersOfProcesses,
  ) {}

  /**
   * The numbers of a VM; it gets some the first time. To be called when no process of it runs.
   * @param directory of the VM, which nobody else has
   * @throws insufficientResources when all are taken
   */
  of(directory: string): Promise<VchUser> {
    const done = this.queue.then(() => this.find(directory));
    this.queue = done.catch(() => undefined);
    return done;
  }

  /** The numbers that a VM has had so far, or null. */
  async kept(directory: string): Promise<VchUser | null> {
    await this.queue;
    const first = (await this.load())[directory];
    return first === undefined ? null : user(first);
  }

  /** True for a number of another VM than the one in `directory`. */
  async isAnothers(directory: string, number: number): Promise<boolean> {
    return Object.entries(await this.load()).some(
      ([of, first]) => of !== directory && (number === first || number === first + 1),
    );
  }

  private async find(directory: string): Promise<VchUser> {
    const all = await this.load();
    const running = this.ofProcesses();
    const kept = all[directory];
    // Another host's VM may have got the same ones while this one was off.
    if (kept !== undefined && !running.has(kept) && !running.has(kept + 1)) return user(kept);
    for (const of of Object.keys(all)) if (of === directory || !existsSync(of)) delete all[of];
    const taken = new Set([...running, ...this.elsewhere()]);
    for (const first of Object.values(all)) taken.add(first).add(first + 1);
    const begin = createHash('sha256').update(directory).digest().readUInt32BE() % PAIRS;
    for (let tried = 0; tried < PAIRS; tried++) {
      const first = FIRST + 2 * ((begin + tried) % PAIRS);
      if (taken.has(first) || taken.has(first + 1)) continue;
      all[directory] = first;
      await writeWhole(this.file, JSON.stringify(all), 0o600);
      return user(first);
    }
    throw insufficientResources(`all ${PAIRS} users for endpoints are taken`);
  }

  private async load(): Promise<Record<string, number>> {
    const text = await readFile(this.file, 'utf8').catch(() => null);
    return text === null ? {} : (JSON.parse(text) as Record<string, number>);
  }
}

const user = (first: number): VchUser => ({ endpoint: first, worker: first + 1 });

/** Numbers of users and groups that the machine knows, and of those that files of other hosts' endpoints have. */
function takenOnMachine(): Set<number> {
  const taken = new Set<number>();
  for (const file of ['/etc/passwd', '/etc/group']) {
    if (!existsSync(file)) continue;
    for (const line of readFileSync(file, 'utf8').split('\n')) taken.add(Number(line.split(':')[2]));
  }
  for (const run of readdirSync('/run').filter((name) => /^caisson(-|$)/.test(name))) {
    const directory = join('/run', run, 'vch');
    if (!existsSync(directory)) continue;
    for (const name of readdirSync(directory)) {
      const owner = statSync(join(directory, name), { throwIfNoEntry: false })?.uid ?? 0;
      taken.add(owner).add(owner + 1);
    }
  }
  return taken;
}
