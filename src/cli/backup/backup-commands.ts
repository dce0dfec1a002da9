/** `vic-machine backup …`. */
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { BackupTar, contentsOf, localFiles, type Manifest, Repository, unpackBackup } from '../../backup/index.js';
import { invalid, notFound } from '../../common/errors.js';
import { humanSize } from '../../common/human-size.js';
import { positiveInteger } from '../positive-integer.js';
import { ProgressLine } from '../progress-line.js';
import type { Vch } from '../vch.js';
import { type CommandParts, certificatesOf, ofVch, onVch, table, type VchOptions } from '../vch-command.js';
import { type BackupTarget, createBackup } from './create-backup.js';
import { restoreBackup } from './restore-backup.js';
import { renames } from './restore-plan.js';
import { vchApi } from './vch-api.js';

interface CreateOptions extends VchOptions {
  to: string;
  full?: boolean;
  images?: boolean;
  volume: string[];
  container: string[];
}

interface RestoreOptions extends VchOptions {
  from: string;
  backup?: string;
  volume: string[];
  container: string[];
}

interface DirectoryOptions {
  from?: string;
  to?: string;
  name?: string;
  json?: boolean;
  backup: string[];
  keep?: number;
}

/** Standard output, or input. */
const STREAM = '-';
const many = (value: string, before: string[]): string[] => [...before, value];

/** Adds the commands. */
export function backupCommands(program: Command, parts: CommandParts, version: string): void {
  const { say } = parts;
  const backup = program
    .command('backup')
    .description('containers, volumes and images of a virtual container host, kept in a directory or a tar');

  ofVch(parts, backup, 'create', 'make a backup; containers go on running')
    .option('--to <directory>', "where it goes; '-': one tar, to standard output (required)")
    .option('--full', 'read everything, also what did not change since the last backup')
    .option('--images', 'with the layers of images; otherwise only their names and digests')
    .option('--volume <volume>', 'only this one (can be given several times)', many, [])
    .option('--container <container>', 'only this one, with its volumes (can be given several times)', many, [])
    .action((_options, command: Command) =>
      onVch<CreateOptions>(parts, command, ['to'], (vch, options) => create(vch, options, say, version)),
    );

  ofVch(parts, backup, 'restore', 'restore a backup, or parts of it: containers are made, and not started')
    .option('--from <directory>', "where it is; '-': one tar, from standard input (required)")
    .option('--backup <id>', 'which one; by default the newest of this host, or the newest of all')
    .option('--volume <volume[:newname]>', 'only this one (can be given several times)', many, [])
    .option('--container <container[:newname]>', 'only this one, with its volumes (several times)', many, [])
    .action((_options, command: Command) =>
      onVch<RestoreOptions>(parts, command, ['from'], (vch, options) => restore(vch, options, say)),
    );

  const ofDirectory = (name: string, description: string): Command =>
    backup
      .command(name)
      .description(description)
      .option('--from <directory>', 'where the backups are (required)')
      .option('--to <directory>', 'the same')
      .option('--name <name>', 'only those of this virtual container host');

  ofDirectory('list', 'list backups')
    .option('--json', 'as JSON')
    .action(async (options: DirectoryOptions) => list(await directoryOf(options), options, say));

  ofDirectory('check', 'read all of some backups, and tell what is damaged')
    .option('--backup <id>', 'only this one (can be given several times)', many, [])
    .action(async (options: DirectoryOptions) => check(await directoryOf(options), options, say));

  ofDirectory('remove', 'remove backups, and what no other one needs')
    .option('--backup <id>', 'this one (can be given several times)', many, [])
    .option('--keep <number>', 'all but so many of the newest of each host', positiveInteger('--keep'))
    .action(async (options: DirectoryOptions) => remove(await directoryOf(options), options, say));
}

async function create(vch: Vch, options: CreateOptions, say: (line: string) => void, version: string): Promise<void> {
  const api = vchApi(vch.config, certificatesOf(options));
  const line = new ProgressLine();
  const common = {
    vch: { id: vch.id, name: vch.name },
    program: `vic-machine ${version}`,
    selection: { volumes: options.volume, containers: options.container },
    images: options.images === true,
    progress: (what: string, read: number, written: number) =>
      line.show(`${what}: ${humanSize(read)} read, ${humanSize(written)} written`),
  };
  try {
    if (options.to === STREAM) {
      if (process.stdout.isTTY) throw invalid('a backup is not for a terminal: send standard output to a file');
      const tar = new BackupTar(async (bytes) => {
        if (!process.stdout.write(bytes)) await once(process.stdout, 'drain');
      });
      const made = await createBackup(api, tar, { ...common, earlier: null });
      line.end();
      tellLeftOut(made);
      process.stderr.write(`${summary(made, tar)}\n`);
      return;
    }
    const repository = await Repository.open(localFiles(options.to), { make: true });
    const { made, written } = await repository.locked(async () => {
      const { backups } = options.full === true ? { backups: [] } : await repository.list();
      const target: BackupTarget = {
        put: (data) => repository.chunks.put(data),
        settled: () => repository.chunks.settled(),
        add: (manifest) => repository.add(manifest),
        get written() {
          return repository.chunks.written;
        },
        get count() {
          return repository.chunks.count;
        },
      };
      return {
        made: await createBackup(api, target, { ...common, earlier: { backups, repository } }),
        written: target,
      };
    });
    line.end();
    tellLeftOut(made);
    say(summary(made, written));
  } finally {
    line.end();
  }
}

/** What nobody would expect to be missing. */
function tellLeftOut({ volumes }: Manifest): void {
  const names = volumes.filter(({ disk }) => disk === null).map(({ name }) => name);
  if (names.length > 0)
    process.stderr.write(`Only the options, not the content, of volumes that have no disk: ${names.join(', ')}\n`);
}

function summary({ id, read, volumes, containers }: Manifest, { written, count }: BackupTarget): string {
  const what = `${counted(volumes.length, 'volume')}, ${counted(containers.length, 'container')}`;
  return `${id}: ${what}; ${humanSize(read)} read, ${counted(count, 'chunk')} of ${humanSize(written)} written`;
}

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;

async function restore(vch: Vch, options: RestoreOptions, say: (line: string) => void): Promise<void> {
  const selection = { volumes: renames(options.volume), containers: renames(options.container) };
  const line = new ProgressLine();
  const spool = options.from === STREAM ? mkdtempSync(join(tmpdir(), 'caisson-restore-')) : null;
  const interrupted = new AbortController();
  const stop = (): void => interrupted.abort();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, stop);
  try {
    if (spool !== null) {
      line.show('Receiving the backup');
      await unpackBackup(process.stdin, localFiles(spool));
    }
    const repository = await openExisting(spool ?? options.from);
    const manifest = await chosen(repository, vch, options.backup);
    const plan = await restoreBackup(vchApi(vch.config, certificatesOf(options)), {
      manifest,
      repository,
      selection,
      signal: interrupted.signal,
      progress: (what) => line.show(what),
    });
    line.end();
    for (const { name } of plan.volumes) say(`volume ${name}`);
    for (const { name } of plan.containers) say(`container ${name}`);
  } finally {
    line.end();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, stop);
    if (spool !== null) rmSync(spool, { recursive: true, force: true });
  }
}

/** The backup that was asked for, or the newest: of this host, if it has any. @throws notFound, invalid */
async function chosen(repository: Repository, vch: Vch, id: string | undefined): Promise<Manifest> {
  if (id !== undefined) return repository.read(id);
  const { backups, unreadable } = await repository.list();
  const found = backups.filter((one) => one.vch.id === vch.id).at(-1) ?? backups.at(-1);
  // The newest one may be the one that cannot be read: an older one is not taken for it in silence.
  const newest = unreadable.filter((one) => found === undefined || one.id > found.id).at(-1);
  if (newest !== undefined) throw invalid(`${newest.reason}; name another one with --backup`);
  if (found === undefined) throw notFound('there is no backup');
  return found;
}

async function directoryOf({ from, to }: DirectoryOptions): Promise<Repository> {
  const directory = from ?? to;
  if (directory === undefined) throw invalid('--from must be specified');
  return openExisting(directory);
}

/** @throws notFound */
async function openExisting(directory: string): Promise<Repository> {
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true)
    throw notFound(`there is no directory ${directory}`);
  return Repository.open(localFiles(directory), { make: false });
}

async function list(
  repository: Repository,
  { name, json }: DirectoryOptions,
  say: (line: string) => void,
): Promise<void> {
  const { backups, unreadable } = await repository.list();
  const shown = backups.filter(({ vch }) => name === undefined || vch.name === name);
  if (json === true) say(JSON.stringify({ Backups: shown.map(view), Unreadable: unreadable }, null, 2));
  else {
    table(say, [
      ['BACKUP', 'HOST', 'CREATED', 'READ', 'WRITTEN', 'BASED ON', 'VOLUMES', 'CONTAINERS', 'IMAGES'],
      ...shown.map((one) => [
        one.id,
        one.vch.name,
        one.createdAt.replace(/\.\d+Z$/, 'Z'),
        humanSize(one.read),
        humanSize(one.written),
        basesOf(one).at(-1) ?? '-',
        String(one.volumes.length),
        String(one.containers.length),
        String(one.images.length),
      ]),
    ]);
    for (const { reason } of unreadable) say(reason);
  }
  if (unreadable.length > 0) process.exitCode = 1;
}

/** The backups that this one read only the changes since. Each is whole without the others: they share chunks. */
function basesOf({ volumes }: Manifest): string[] {
  return [...new Set(volumes.flatMap(({ disk }) => disk?.base ?? []))].sort();
}

const view = (one: Manifest): object => ({
  Id: one.id,
  CreatedAt: one.createdAt,
  Program: one.program,
  Host: one.vch,
  Read: one.read,
  Written: one.written,
  BasedOn: basesOf(one),
  Volumes: one.volumes.map(({ name, driver, options, labels, disk }) => ({
    Name: name,
    Driver: driver,
    Options: options,
    Labels: labels,
    Capacity: disk?.capacityBytes ?? 0,
    Chunks: disk?.content.chunks ?? 0,
    SHA256: disk?.content.sha256 ?? null,
    BasedOn: disk?.base ?? null,
  })),
  Containers: one.containers.map(({ id, name, image, state, mounts }) => ({
    Id: id,
    Name: name,
    Image: image,
    State: state,
    Volumes: mounts.map(({ volume }) => volume),
  })),
  Networks: one.networks.map(({ Name }) => Name),
  Images: one.images.map(({ archive, ...image }) => ({ ...image, layers: archive !== null })),
});

async function check(repository: Repository, options: DirectoryOptions, say: (line: string) => void): Promise<void> {
  const { backups, unreadable } = await repository.list();
  for (const id of options.backup) if (!unreadable.some((one) => one.id === id)) await repository.read(id);
  const wanted = (id: string, host?: string): boolean =>
    options.backup.length === 0
      ? options.name === undefined || host === undefined || host === options.name
      : options.backup.includes(id);
  const checked = backups.filter(({ id, vch }) => wanted(id, vch.name));
  const broken = unreadable.filter(({ id }) => wanted(id));
  const line = new ProgressLine();
  const problems = await repository.check(checked, (chunks) => line.show(`${chunks} chunks`)).finally(() => line.end());
  for (const { reason } of broken) say(reason);
  for (const { backup, what, problem } of problems) say(`backup ${backup}: ${what}: ${problem}`);
  const contents = checked.reduce((sum, one) => sum + contentsOf(one).length, 0);
  const bad = problems.length + broken.length;
  say(
    `${counted(checked.length, 'backup')} with ${counted(contents, 'content')} checked: ${bad === 0 ? 'no damage' : counted(bad, 'problem')}`,
  );
  if (bad > 0) process.exitCode = 1;
}

async function remove(repository: Repository, options: DirectoryOptions, say: (line: string) => void): Promise<void> {
  const { backup: ids, keep, name } = options;
  if ((ids.length === 0) === (keep === undefined)) throw invalid('either --backup or --keep must be specified');
  await repository.locked(async () => {
    const { backups } = await repository.list();
    const ofName = backups.filter(({ vch }) => name === undefined || vch.name === name);
    const newer = (one: Manifest): number =>
      ofName.filter((other) => other.vch.id === one.vch.id && other.id > one.id).length;
    const gone = keep === undefined ? ids : ofName.filter((one) => newer(one) >= keep).map(({ id }) => id);
    const chunks = await repository.remove(gone);
    for (const id of gone) say(`${id} is removed`);
    say(`${counted(chunks, 'chunk')} that nothing needs any more removed`);
  });
}
