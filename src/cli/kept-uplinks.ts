/** Which port groups the administrator has joined with interfaces (`npm start -- --uplink`), kept for later starts. */
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

/** For later starts, which need not say them again. */
export function keepUplinks(paths: Pick<InstancePaths, 'stateDir'>, uplinks: readonly string[]): void {
  writeFileSync(file(paths), JSON.stringify(uplinks), { mode: 0o600 });
}
