/** What the administrator has given the embedded host (`npm start -- --uplink`, `--datastore`), kept for later starts. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { InstancePaths } from '../common/paths.js';

const file = ({ stateDir }: Pick<InstancePaths, 'stateDir'>): string => join(stateDir, 'uplinks.json');

/** `portgroup=interface` of each; none if they were never said. */
export function keptUplinks(paths: Pick<InstancePaths, 'stateDir'>): string[] {
  if (!existsSync(file(paths))) return [];
  return z.array(z.string()).parse(JSON.parse(readFileSync(file(paths), 'utf8')));
}

const datastoreFile = ({ stateDir }: Pick<InstancePaths, 'stateDir'>): string => join(stateDir, 'datastores.json');

/** `name=directory` of each datastore besides the first one. */
export function keptDatastores(paths: Pick<InstancePaths, 'stateDir'>): string[] {
  if (!existsSync(datastoreFile(paths))) return [];
  return z.array(z.string()).parse(JSON.parse(readFileSync(datastoreFile(paths), 'utf8')));
}

/** For later starts. */
export function keepDatastores(paths: Pick<InstancePaths, 'stateDir'>, datastores: readonly string[]): void {
  writeFileSync(datastoreFile(paths), JSON.stringify(datastores), { mode: 0o600 });
}

/** For later starts, which need not say them again. */
export function keepUplinks(paths: Pick<InstancePaths, 'stateDir'>, uplinks: readonly string[]): void {
  writeFileSync(file(paths), JSON.stringify(uplinks), { mode: 0o600 });
}
