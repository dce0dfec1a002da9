/** A container's /etc/resolv.conf, from its own options and the machine's file. Pure, except for {@link readMachineFile}. */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';

const DEFAULT_SERVERS = ['8.8.8.8', '8.8.4.4'];
/** A VM cannot reach the machine's loopback. Docker leaves these servers out too. */
const LOOPBACK = /^(127\.|::1$)/;

/** The content of a resolv.conf. */
export interface Dns {
  servers: string[];
  search: string[];
  options: string[];
}

/** The text of a container's file. @param own its options, or null @param machineFile the machine's own file */
export function resolvConf(own: Dns | null, machineFile = readMachineFile()): string {
  const { servers, search, options } = mergeDns(own, machineDns(machineFile));
  const lines = servers.map((server) => `nameserver ${server}`);
  if (search.length > 0) lines.push(`search ${search.join(' ')}`);
  if (options.length > 0) lines.push(`options ${options.join(' ')}`);
  return `${lines.join('\n')}\n`;
}

/** Each of the three comes from the container if it sets any, otherwise from the machine. The search list `.` means none. */
function mergeDns(own: Dns | null, machine: Dns): Dns {
  if (own === null) return machine;
  const chosen = (mine: string[], its: string[]): string[] => (mine.length > 0 ? mine : its);
  return {
    servers: chosen(own.servers, machine.servers),
    search: chosen(own.search, machine.search).filter((domain) => domain !== '.'),
    options: chosen(own.options, machine.options),
  };
}

/** The parts of the machine's file that are also valid in a VM. */
export function machineDns(text: string): Dns {
  const dns: Dns = { servers: [], search: [], options: [] };
  for (const line of text.split('\n')) {
    const [key, ...values] = line.trim().split(/\s+/);
    const [first = ''] = values;
    if (key === 'nameserver' && isIP(first) !== 0 && !LOOPBACK.test(first)) dns.servers.push(first);
    if (key === 'search') dns.search = values;
    if (key === 'options') dns.options = values;
  }
  return dns.servers.length === 0 ? { ...dns, servers: DEFAULT_SERVERS } : dns;
}

function readMachineFile(): string {
  try {
    return readFileSync('/etc/resolv.conf', 'utf8');
  } catch {
    return '';
  }
}
