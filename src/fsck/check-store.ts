/** Checks everything that an embedded host keeps. See the folder's index. */
import { existsSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { invalid } from '../common/errors.js';
import { instancePaths } from '../common/paths.js';
import { checkCache } from './cache-files.js';
import { Check } from './check.js';
import { DiskChecks } from './disks.js';
import { DisksInUse } from './disks-in-use.js';
import type { CheckOptions, StoreReport } from './finding.js';
import { checkHostFiles } from './host-files.js';
import { hostRuns } from './host-runs.js';
import { checkImages } from './images.js';
import { checkLayers, checkUnusedLayers } from './layers.js';
import { checkMachines, containersOf, type HostContents } from './machines.js';
import { mapStore } from './store-map.js';
import { checkVolumes } from './volumes.js';

/**
 * Looks at everything below a state directory and changes nothing. While the host runs, things come and go: what is found is looked at a
 * second time, and what may only be under way is in `unchecked`.
 * @throws invalid when there is no such directory; whatever reading files throws
 */
export async function checkStore(stateDir: string, options: CheckOptions = {}): Promise<StoreReport> {
  const directory = resolve(stateDir);
  if (!existsSync(directory)) throw invalid(`there is no state directory ${directory}`);
  const running = hostRuns(instancePaths(directory));
  const report = await checkOnce(directory, options, running);
  if (!running || report.findings.length === 0) return report;
  const again = await checkOnce(directory, options, running);
  const key = ({ code, where, what }: { code: string; where: string; what: string }): string =>
    `${code} ${where} ${what}`;
  const before = new Set(report.findings.map(key));
  return { ...again, findings: again.findings.filter((finding) => before.has(key(finding))) };
}

async function checkOnce(stateDir: string, options: CheckOptions, running: boolean): Promise<StoreReport> {
  const disks = new DiskChecks();
  try {
    const store = await mapStore(instancePaths(stateDir));
    const check = new Check(store, DisksInUse.find(), disks, options, running);
    checkHostFiles(check);
    const contents = new Map<string, HostContents>();
    check.counts.hosts = new Set(store.hosts.map(({ id }) => id)).size;
    for (const host of store.hosts) {
      if (host.name === null && store.inventory !== null) orphaned(check, host.directory);
      const containers = containersOf(check, host.id);
      const layers = await checkLayers(check, host);
      const used = checkImages(check, host, layers, containers);
      for (const layer of containers.layers) used.add(layer);
      if (containers.complete) checkUnusedLayers(check, host, layers, used);
      const volumes = await checkVolumes(check, host);
      // Volume stores are parts of the same host on other datastores, or in other folders.
      const known = contents.get(host.id);
      contents.set(host.id, {
        layers: new Map([...(known?.layers ?? []), ...layers]),
        volumes: new Set([...(known?.volumes ?? []), ...volumes]),
      });
    }
    await checkMachines(check, contents);
    if (options.cacheDir !== undefined) await checkCache(check, options.cacheDir);
    return { findings: check.findings, unchecked: check.unchecked, counts: check.counts, running };
  } finally {
    await disks.close();
  }
}

function orphaned(check: Check, directory: string): void {
  check.find({
    code: 'host.orphan',
    severity: 'damage',
    where: relative(check.store.paths.stateDir, directory),
    what: 'no virtual container host has these images and volumes',
    means: 'its endpoint was removed, or cannot be read; nobody can use what is there',
    todo: 'restore the endpoint from a backup, or put the directory aside with --repair --move-aside',
    repair: { kind: 'aside', path: directory },
  });
}
