/**
 * Directories of an endpoint, which runs as a user of its own. They are made for it, or handed over if an earlier version's endpoint,
 * which was root, has left them. Their paths come from the VM's configuration, which is not trusted.
 */
import { chmod, lchown, lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { conflict, invalid, messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { spoolDirectory } from '../../common/paths.js';
import type { PorterSetup } from '../../porter/setup.js';
import type { VmDefinition } from '../runtime.js';
import type { VchUsers } from './vch-users.js';

const log = logger('endpoint-vm');
const CONFIG_KEY = 'guestinfo.caisson.vch';
/** Everything from here down is root's, so that nobody can put a link in the way. */
const CHANNEL_DIRECTORY = /^\/run\/caisson(?:-[0-9a-f]{8})?\/vch\/[A-Za-z0-9][A-Za-z0-9_.-]*$/;
/** It has the API's socket, which others may use. */
const CHANNEL_MODE = 0o711;

/** Where an endpoint keeps things on the machine. */
export interface EndpointDirectories {
  /** For sockets: of its containers' channels, and of its API. */
  channel: string;
  /** For what it downloads or writes before that goes to the datastore. */
  spool: string;
}

/** What the host has to know of an endpoint's configuration. */
const hostsPart = z.object({
  id: z.string(),
  channelDir: z.string(),
  listen: z.array(z.object({ host: z.string(), port: z.number() })).default([]),
  publish: z.object({ addresses: z.array(z.string()).optional(), lowestPort: z.number() }).default({ lowestPort: 1 }),
  hostPorts: z.array(z.number()).default([]),
  egress: z.enum(['relay', 'none']).default('relay'),
});

/** @throws invalid for none */
function configuration(vm: VmDefinition): z.infer<typeof hostsPart> {
  try {
    return hostsPart.parse(JSON.parse(vm.extraConfig.get(CONFIG_KEY) ?? 'null'));
  } catch (error) {
    throw invalid(`${CONFIG_KEY} is no configuration of an endpoint`, error);
  }
}

/** Where the endpoint may listen, and what may be carried for it. @throws invalid */
export function endpointGrants(vm: VmDefinition): Pick<PorterSetup, 'listen' | 'publish' | 'hostPorts' | 'egress'> {
  const { listen, publish, hostPorts, egress } = configuration(vm);
  const { addresses, lowestPort } = publish;
  return {
    listen,

    hostPorts,
    egress: egress === 'relay',
    publish: { lowestPort, ...(addresses === undefined ? {} : { addresses }) },
  };
}

/** @throws invalid for a configuration that names other places than an endpoint's */
export function endpointDirectories(vm: VmDefinition): EndpointDirectories {
  const { id, channelDir } = configuration(vm);
  if (!CHANNEL_DIRECTORY.test(channelDir))
    throw invalid(`the directory for channels, ${channelDir}, is not one of those below /run/caisson/vch`);
  return { channel: channelDir, spool: spoolDirectory(id) };
}

/** Makes them the endpoint's, and nobody else's. @throws conflict for one that is another endpoint's */
export async function provideDirectories(
  { channel, spool }: EndpointDirectories,
  vm: VmDefinition,
  users: VchUsers,
  owner: number,
): Promise<void> {
  await mkdir(dirname(channel), { recursive: true, mode: 0o711 });
  await mkdir(dirname(spool), { recursive: true, mode: 0o711 });
  // An earlier version made it closed to everybody else.
  await chmod(dirname(spool), 0o711);
  await provide(channel, vm, users, { owner, group: owner, mode: CHANNEL_MODE });
  await provide(spool, vm, users, { owner, group: owner, mode: 0o700 });
}

/** Removes what nobody needs while the endpoint is off. Call this when none of its processes runs. */
export async function removeDirectories(vm: VmDefinition): Promise<void> {
  try {
    await rm(endpointDirectories(vm).spool, { recursive: true, force: true });
  } catch (error) {
    log.warn({ err: messageOf(error), vm: vm.name }, 'what the endpoint left cannot be removed');
  }
}

/** Removes the directory for channels of an endpoint that is removed itself. @param owner its user; a directory of somebody else stays */
export async function removeChannels(vm: VmDefinition, owner: number): Promise<void> {
  try {
    const { channel } = endpointDirectories(vm);
    const found = await lstat(channel).catch(() => null);
    if (found?.isDirectory() === true && found.uid === owner) await rm(channel, { recursive: true, force: true });
  } catch (error) {
    log.warn({ err: messageOf(error), vm: vm.name }, 'what the endpoint left cannot be removed');
  }
}

async function provide(
  path: string,
  vm: VmDefinition,
  users: VchUsers,
  { owner, group, mode }: { owner: number; group: number; mode: number },
): Promise<void> {
  let before = await lstat(path).catch(() => null);
  if (before !== null && !before.isDirectory()) throw conflict(`${path} is not a directory`);
  if (before !== null && before.uid !== 0 && before.uid !== owner) {
    if (await users.isAnothers(vm.directory, before.uid)) throw conflict(`${path} is another endpoint's`);
    // It has a number that this VM had before, or that of a VM that is gone.
    await rm(path, { recursive: true, force: true });
    before = null;
  }
  if (before === null) await mkdir(path, { mode: 0o700 });
  // Root left this, so nobody else could get in and nothing changes meanwhile. The directory itself comes last: its owner shows that all is done.
  else if (before.uid === 0) await giveAway(path, owner, group);
  await lchown(path, owner, group);
  await chmod(path, mode);
}

async function giveAway(path: string, owner: number, group: number): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const inner = join(path, entry.name);
    if (entry.isDirectory()) await giveAway(inner, owner, group);
    await lchown(inner, owner, group);
  }
}
