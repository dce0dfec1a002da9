/** A lab VM's channel, and commands in its container. */
import { execFile, execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ContainerChannel } from '../../port-layer/interaction/container-channel.js';
import type { RunningVm } from '../../src/hostd/runtime.js';
import { encodeProcess } from '../../tether/program/compile.js';
import type { ProcessSpec } from '../../tether/program/spec.js';
import { processSpec } from './specs.js';
import { type LabGuest, type LabVm, PORT_GROUP, type VmLab } from './vm-lab.js';

/** Listens for the VM; call before it is powered on, or at any time later: it calls again each second. */
export async function openChannel(guest: LabGuest): Promise<ContainerChannel> {
  const { backing } = guest.definition.serials[0]!;
  if (backing.kind !== 'unixClient') throw new Error('the lab gives VMs a channel');
  const channel = new ContainerChannel(backing.path);
  await channel.listen();
  channel.release();
  return channel;
}

/** A VM whose first process goes on, with its channel. */
export interface OpenGuest {
  guest: LabGuest;
  vm: RunningVm;
  channel: ContainerChannel;
}

/** Powers on such a VM, whose script ends with `echo up; exec sleep 100000` if it is not given. Resolves when that has been printed. */
export async function startGuest(lab: VmLab, options: LabVm): Promise<OpenGuest> {
  const guest = await lab.define({ script: 'echo up; exec sleep 100000', ...options });
  const channel = await openChannel(guest);
  const vm = await lab.powerOn(guest);
  await guest.printed(/up/);
  return { guest, vm, channel };
}

/** What a command prints in the container, both outputs together. */
export async function sh(
  channel: ContainerChannel,
  script: string,
  user = '',
  more: Partial<ProcessSpec> = {},
): Promise<string> {
  const process = encodeProcess(processSpec(['/bin/sh', '-c', `{ ${script}\n} 2>&1`], { user, ...more }));
  const { output, started } = await channel.exec(process);
  await started;
  let printed = '';
  for await (const { data } of output) printed += data.toString();
  return printed;
}

/** Compiles a tool of this directory in another one. @returns the program's path */
export async function buildTool(directory: string, name = 'guest-network-tool.c'): Promise<string> {
  const source = fileURLToPath(new URL(name, import.meta.url));
  const tool = join(directory, 'tool');
  await promisify(execFile)('gcc', ['-static', '-w', '-Os', '-s', '-D_GNU_SOURCE', '-o', tool, source]);
  return tool;
}

/** Puts a program into the container as `/bin/tool`. */
export async function putTool(channel: ContainerChannel, path: string): Promise<void> {
  const args = ['/bin/sh', '-c', 'cat > /bin/tool; chmod 755 /bin/tool'];
  const process = encodeProcess(processSpec(args, { openStdin: true }));
  const { session, output, started } = await channel.exec(process);
  await started;
  channel.stdin(session)!.end(await readFile(path));
  for await (const { data } of output) throw new Error(data.toString());
}

/**
 * A neighbour outside on the lab's port group: a network namespace whose `eth0` has these addresses (CIDR). It may send what it wants and
 * serves what it wants, as a machine of a network elsewhere. `lab.runtime.virtualSwitch.disconnectEndpoint('vm-9')` removes it.
 * @returns its name
 */
export async function neighbour(lab: VmLab, addresses: string[]): Promise<string> {
  const { virtualSwitch } = lab.runtime;
  const nic = { index: 0, mac: '00:50:56:00:00:01', portGroup: PORT_GROUP, connected: true };
  await virtualSwitch.connectEndpoint('vm-9', [nic]);
  const namespace = `${virtualSwitch.namespace}-vm-9`;
  const run = (within: string, ...args: string[]): unknown =>
    execFileSync('nsenter', [`--net=/run/netns/${within}`, ...args], { stdio: 'pipe' });
  run(virtualSwitch.namespace, 'nft', 'add element bridge caisson unchecked { "t9n0" }');
  run(namespace, 'nft', 'delete table inet caisson_gateway');
  for (const address of addresses)
    run(namespace, 'ip', 'address', 'add', address, 'dev', 'eth0', ...(address.includes(':') ? ['nodad'] : []));
  return namespace;
}
