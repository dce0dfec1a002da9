/** Stopping the engine (containers go on running), and removing everything it made. */
import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { messageOf, unavailable } from '../common/errors.js';
import type { InstancePaths } from '../common/paths.js';
import { keptDatastores } from '../hostd/datastore/kept-datastores.js';
import { step } from '../setup/console.js';
import { run } from '../setup/packages.js';
import { connectHostd } from './connect-hostd.js';
import { runningHostd, runningSupervisor, startHostdProcess, stopHostdProcess } from './hostd-process.js';
import { deleteVch, listVchs, powerOffVch } from './vch.js';

/** Stops the endpoints and hostd. Returns false when nothing ran. */
export async function stopEngine(paths: InstancePaths): Promise<boolean> {
  if (runningHostd(paths) === null && runningSupervisor(paths) === null) return false;
  const client = await connectHostd(paths).catch(async (error: unknown) => {
    await stopHostdProcess(paths);
    throw unavailable(
      `The embedded host did not answer and was ended; endpoints of virtual container hosts go on running until the next npm start and npm stop: ${messageOf(error)}`,
      error,
    );
  });
  try {
    for (const vch of await listVchs(client)) {
      await step(`Stopping the endpoint of "${vch.name}"`, () => powerOffVch(client, vch));
    }
  } finally {
    await client.close();
  }
  await step('Stopping the embedded host', () => stopHostdProcess(paths));
  return true;
}

/** Deletes every virtual container host with its containers and images, stops hostd and removes its files. */
export async function removeEngine(paths: InstancePaths): Promise<void> {
  if (!existsSync(paths.stateDir)) return;
  if (runningHostd(paths) === null && runningSupervisor(paths) === null)
    await startHostdProcess(paths, '127.0.0.1:0', [
      '--accel',
      'tcg',
      ...keptDatastores(paths).flatMap((one) => ['--datastore', one]),
    ]);
  const client = await connectHostd(paths);
  try {
    for (const vch of await listVchs(client)) {
      await step(`Removing the virtual container host "${vch.name}"`, (progress) =>
        deleteVch(client, vch, { force: true }, progress),
      );
    }
  } finally {
    await client.close();
  }
  await step('Stopping the embedded host', () => stopHostdProcess(paths));
  await step(`Removing ${paths.stateDir}`, async () => {
    await rm(paths.stateDir, { recursive: true, force: true });
    await rm(paths.runDir, { recursive: true, force: true });
  });
  for (const namespace of await instanceNamespaces(paths)) await run('ip', ['netns', 'delete', namespace]);
}

/** Network namespaces of the instance: the switch's and its endpoints'. */
async function instanceNamespaces(paths: InstancePaths): Promise<string[]> {
  const all = await readdir('/run/netns').catch((): string[] => []);
  const name = `csn-${paths.instance}`;
  return all.filter((one) => one === name || one.startsWith(`${name}-`));
}
