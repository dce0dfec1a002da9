/** `--datastore NAME=DIRECTORY`: the datastores that the host has besides `datastore1`. */
import { chmod, chown, mkdir, readdir, stat } from 'node:fs/promises';
import { isAbsolute, normalize } from 'node:path';
import { invalid } from '../../common/errors.js';
import type { InstancePaths } from '../../common/paths.js';

/** The datastore that every host has. */
export const DATASTORE = 'datastore1';

/** A datastore: a directory of this machine, absolute and without a slash at the end. */
export interface DatastorePlace {
  readonly name: string;
  readonly directory: string;
}

/** All datastores of a host, the first one being that of its state directory. */
export function datastorePlaces({
  datastoreDir,
  moreDatastores = [],
}: Pick<InstancePaths, 'datastoreDir' | 'moreDatastores'>): DatastorePlace[] {
  return [{ name: DATASTORE, directory: datastoreDir }, ...moreDatastores];
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,41}$/;

/** @throws invalid */
export function parseDatastore(text: string): DatastorePlace {
  const at = text.indexOf('=');
  const name = text.slice(0, Math.max(0, at)).trim();
  const directory = normalize(text.slice(at + 1).trim()).replace(/(?<=.)\/$/, '');
  if (!NAME.test(name) || !isAbsolute(directory) || directory === '/' || directory.includes('\0'))
    throw invalid(`--datastore '${text}' is not of the form name=/directory`);
  return { name, directory };
}

/**
 * Checks datastores together. @param others directories that none of them may share anything with: the state directory
 * @throws invalid when a name is taken, or a directory lies in another
 */
export function parseDatastores(texts: readonly string[], others: readonly string[]): DatastorePlace[] {
  const places = texts.map(parseDatastore);
  for (const [index, { name, directory }] of places.entries()) {
    const before = places.slice(0, index);
    if (name === DATASTORE || before.some((one) => one.name === name))
      throw invalid(`--datastore: there is a datastore ${name} already`);
    const shared = [...others, ...before.map((one) => one.directory)].find(
      (one) => `${one}/`.startsWith(`${directory}/`) || `${directory}/`.startsWith(`${one}/`),
    );
    if (shared !== undefined) throw invalid(`--datastore '${texts[index]}': it shares files with ${shared}`);
  }
  return places;
}

/**
 * Makes a datastore's directory, or takes it over if it is empty or has been a datastore: hostd opens disks in it as root, so nobody else
 * may enter. @throws invalid for a directory with anything of others in it
 */
export async function openDatastore({ name, directory }: DatastorePlace): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const { uid, mode } = await stat(directory);
  const mine = uid === 0 && (mode & 0o077) === 0;
  const names = mine ? [] : (await readdir(directory)).filter((one) => one !== 'lost+found');
  if (names.length > 0)
    throw invalid(
      `--datastore ${name}=${directory}: the directory is not empty, and others may enter it; give the datastore a directory of its own`,
    );
  await chown(directory, 0, 0);
  await chmod(directory, 0o700);
}
