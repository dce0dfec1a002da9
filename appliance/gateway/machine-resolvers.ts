/** The name servers of the machine, followed as its administrator changes them. */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';

const FILE = '/etc/resolv.conf';
/** resolv.conf(5), MAXNS: the machine itself asks no more. */
const MOST = 3;
/** resolv.conf(5): the server where the file names none. */
const DEFAULT = ['127.0.0.1'];
const INTERVAL_MS = 5000;

/** The servers that a resolv.conf names. An address with a zone means nothing elsewhere, and is left out. */
export function resolversOf(text: string): string[] {
  const named = text.split('\n').flatMap((line) => {
    const [keyword, address = ''] = line.trim().split(/\s+/);
    return keyword === 'nameserver' && isIP(address) !== 0 && !address.includes('%') ? [address] : [];
  });
  const servers = [...new Set(named)].slice(0, MOST);
  return servers.length === 0 ? DEFAULT : servers;
}

export class MachineResolvers {
  private servers: string[];
  private readonly timer: NodeJS.Timeout;

  /** @param changed called when there are others */
  constructor(
    changed: () => void,
    private readonly file = FILE,
    intervalMs = INTERVAL_MS,
  ) {
    this.servers = this.read();
    // The file is often a link, and is replaced rather than written to. Watching would miss a change until the watch has begun.
    this.timer = setInterval(() => {
      const before = this.servers.join();
      this.servers = this.read();
      if (this.servers.join() !== before) changed();
    }, intervalMs);
    this.timer.unref();
  }

  list(): readonly string[] {
    return this.servers;
  }

  close(): void {
    clearInterval(this.timer);
  }

  private read(): string[] {
    try {
      return resolversOf(readFileSync(this.file, 'utf8'));
    } catch {
      return DEFAULT;
    }
  }
}
