/** Which datastores the administrator has given the embedded host (`npm start -- --datastore`), kept for later starts. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { InstancePaths } from '../../common/paths.js';

const datastoreFile = ({ stateDir }: Pick<InstancePaths, 'stateDir'>): string => join(stateDir, 'datastores.json');

/** `name=directory` of each datastore besides the first one. */
export function keptDatastores(paths: Pick<InstancePaths, 'stateDir'>): string[] {
  if (!existsSync(datastoreFile(paths))) return [];
  return z.array(z.string()).parse(JSON.parse(readFileSync(datastoreFile(paths), 'utf8')));
}

/** For later starts. When there is no room for it, those that were kept before stay. */
export function keepDatastores(paths: Pick<InstancePaths, 'stateDir'>, datastores: readonly string[]): void {
  const draft = `${datastoreFile(paths)}.new`;
  writeFileSync(draft, JSON.stringify(datastores), { mode: 0o600 });
  renameSync(draft, datastoreFile(paths));
}
