/** A lab VM's channel, and commands in its container. */
import { ContainerChannel } from '../../port-layer/interaction/container-channel.js';
import { encodeProcess } from '../../tether/program/compile.js';
import type { LabGuest } from './vm-lab.js';

/** Listens for the VM; call before it is powered on, or at any time later: it calls again each second. */
export async function openChannel(guest: LabGuest): Promise<ContainerChannel> {
  const { backing } = guest.definition.serials[0]!;
  if (backing.kind !== 'unixClient') throw new Error('the lab gives VMs a channel');
  const channel = new ContainerChannel(backing.path);
  await channel.listen();
  channel.release();
  return channel;
}

/** What a command prints in the container, both outputs together. */
export async function sh(channel: ContainerChannel, script: string, user = ''): Promise<string> {
  const process = encodeProcess({
    ...{ args: ['/bin/sh', '-c', `{ ${script}\n} 2>&1`], env: ['PATH=/bin'], cwd: '/', user, additionalGroups: [] },
    ...{ tty: false, openStdin: false, rlimits: [] },
  });
  const { output, started } = await channel.exec(process);
  await started;
  let printed = '';
  for await (const { data } of output) printed += data.toString();
  return printed;
}
