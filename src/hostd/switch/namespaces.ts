/** Network namespaces by name, and interfaces in them. */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { internal } from '../../common/errors.js';
import { interfaces, ip, ipBatch, ipTry, shellIn } from './ip.js';

/** Where `ip netns` keeps its names. */
export const NAMESPACES = '/run/netns';

/** Makes a network namespace, and repairs one that was left half made. */
export async function ensureNamespace(namespace: string): Promise<void> {
  const lo = ['link set lo up'];
  if (existsSync(`${NAMESPACES}/${namespace}`)) {
    if (await succeeds(ipBatch(namespace, lo))) return;
    await deleteNamespace(namespace);
  }
  await ip('netns', 'add', namespace);
  await ipBatch(namespace, lo);
}

export async function deleteNamespace(namespace: string): Promise<void> {
  const path = `${NAMESPACES}/${namespace}`;
  if (!existsSync(path)) return;
  // If the namespace was left half made, its name is a plain file with nothing mounted on it, which `ip` complains about.
  await ip('netns', 'delete', namespace).catch(() => rm(path, { force: true }));
}

/** Any number but 0, where interfaces are by default. */
const LEAVING = 1;

/** Removes interfaces, some of which may be gone already. @throws internal if one stays */
export async function removeLinks(namespace: string, names: string[]): Promise<void> {
  if (names.length === 0) return;
  let left = names;
  if (names.length > 1) {
    // Together: the kernel waits for each removal, for some 30 ms.
    const commands = [...names.map((name) => `link set ${name} group ${LEAVING}`), `link delete group ${LEAVING}`];
    if (await succeeds(ipBatch(namespace, commands))) return;
    await ipTry(namespace, commands);
    left = await present(namespace, names);
  }
  if (left.length > 0) await removeEach(namespace, left);
}

const succeeds = (step: Promise<unknown>): Promise<boolean> =>
  step.then(
    () => true,
    () => false,
  );

async function present(namespace: string, names: readonly string[]): Promise<string[]> {
  return (await interfaces(namespace)).filter((name) => names.includes(name));
}

async function removeEach(namespace: string, names: string[]): Promise<void> {
  const commands = names.map((name) => `link delete ${name}`);
  if (await succeeds(ipBatch(namespace, commands))) return;
  await ipTry(namespace, commands);
  const left = await present(namespace, names);
  if (left.length > 0) throw internal(`the interfaces ${left.join(', ')} cannot be removed`);
}

/** Settings of all interfaces in a namespace whose networks are not to be trusted, below /proc/sys/net. */
const DEAF: Readonly<Record<string, number>> = {
  'ipv6/accept_ra': 0,
  'ipv6/autoconf': 0,
  'ipv6/accept_redirects': 0,
  'ipv4/accept_redirects': 0,
  'ipv4/send_redirects': 0,
  // Networks do not meet here: neither does anything pass through, nor is a card asked for the address of another.
  'ipv4/forwarding': 0,
  'ipv6/forwarding': 0,
  'ipv4/arp_ignore': 1,
};

/**
 * Makes a namespace ignore what others on its networks say about routes and addresses (router advertisements and redirects), and keep its
 * networks apart, on present and future interfaces.
 * @throws internal if the kernel's settings cannot be written
 */
export async function deafen(namespace: string): Promise<void> {
  const settings = Object.entries(DEAF).map(([name, value]) => `${name}=${value}`);
  const script = `set -e
for setting in ${settings.join(' ')}; do
  name=\${setting%=*}
  for directory in /proc/sys/net/\${name%/*}/conf/*; do
    [ ! -e "$directory/\${name#*/}" ] || echo \${setting#*=} >"$directory/\${name#*/}"
  done
done`;
  await shellIn(`${NAMESPACES}/${namespace}`, script);
}
