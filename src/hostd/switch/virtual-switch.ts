/**
 * The virtual switch: port groups as bridges in a network namespace of their own, a tap for each connected card of a VM, and for
 * each endpoint VM a namespace with one veth per card. The machine's own interfaces, routes and firewall are not touched.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { internal, notFound } from '../../common/errors.js';
import type { RuntimeNic } from '../runtime.js';

/** Runs `ip`; with `batch`, those lines in one process. @throws internal with its message */
function ip(args: string[], batch?: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('ip', batch === undefined ? args : [...args, '-batch', '-'], {
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    let text = '';
    child.stderr.on('data', (data: Buffer) => {
      text += data.toString();
    });
    child.on('error', (error) => reject(internal(`cannot run ip: ${error.message}`, error)));
    child.on('close', (code) => (code === 0 ? resolve() : reject(internal(`ip ${args.join(' ')}: ${text.trim()}`))));
    child.stdin.on('error', () => undefined);
    child.stdin.end(batch === undefined ? '' : `${batch.join('\n')}\n`);
  });
}

/** One instance's switch. All calls may be repeated: what is there already stays. */
export class VirtualSwitch {
  readonly namespace: string;
  private readonly bridges = new Map<string, string>();
  private opened: Promise<void> | null = null;

  constructor(instance: string) {
    this.namespace = `csn-${instance}`;
  }

  /** Path for `nsenter --net=`. */
  get path(): string {
    return `/run/netns/${this.namespace}`;
  }

  /** Makes the namespace. */
  open(): Promise<void> {
    this.opened ??= (async () => {
      if (!existsSync(this.path)) await ip(['netns', 'add', this.namespace]);
      await ip(['-n', this.namespace, 'link', 'set', 'lo', 'up']);
    })();
    return this.opened;
  }

  /** Makes a port group's bridge. */
  async addPortGroup(name: string): Promise<void> {
    if (this.bridges.has(name)) return;
    await this.open();
    const bridge = bridgeName(name);
    const there = await ip(['-n', this.namespace, 'link', 'show', bridge]).then(
      () => true,
      () => false,
    );
    if (!there) {
      await ip(
        ['-n', this.namespace],
        [`link add ${bridge} type bridge forward_delay 0 mcast_snooping 0`, `link set ${bridge} up`],
      );
    }
    this.bridges.set(name, bridge);
  }

  async removePortGroup(name: string): Promise<void> {
    const bridge = this.bridges.get(name);
    if (bridge === undefined) return;
    this.bridges.delete(name);
    await ip(['-n', this.namespace, 'link', 'delete', bridge]).catch(() => undefined);
  }

  /**
   * Makes the taps of a VM's connected cards, for a QEMU of that user.
   * @returns tap names by card index
   */
  async plug(moid: string, nics: RuntimeNic[], uid: number): Promise<Map<number, string>> {
    const taps = new Map<number, string>();
    const connected = nics.filter((nic) => nic.connected);
    if (connected.length === 0) return taps;
    const lines: string[] = [];
    for (const nic of connected) {
      const tap = tapName(moid, nic.index);
      taps.set(nic.index, tap);
      lines.push(
        `tuntap add dev ${tap} mode tap user ${uid}`,
        `link set ${tap} master ${this.bridge(nic.portGroup)} up`,
      );
    }
    await this.unplug(
      moid,
      [...taps.values()].filter((tap) => this.leftovers.has(tap)),
    );
    await ip(['-n', this.namespace], lines);
    for (const tap of taps.values()) this.leftovers.add(tap);
    return taps;
  }

  /** Taps this process has made and not removed; those of a hostd before are found by name. */
  private readonly leftovers = new Set<string>();

  /** Removes taps. */
  async unplug(moid: string, taps?: string[]): Promise<void> {
    const names = taps ?? [...this.leftovers].filter((tap) => tap.startsWith(`${tapPrefix(moid)}n`));
    for (const name of names) {
      this.leftovers.delete(name);
      await ip(['-n', this.namespace, 'link', 'delete', name]).catch(() => undefined);
    }
  }

  /** Removes taps of a VM that an earlier hostd made. */
  async unplugStale(moid: string, nics: RuntimeNic[]): Promise<void> {
    await this.unplug(
      moid,
      nics.map((nic) => tapName(moid, nic.index)),
    );
  }

  /** Remembers the taps of a VM that was found running. */
  adopt(moid: string, nics: RuntimeNic[]): void {
    for (const nic of nics) if (nic.connected) this.leftovers.add(tapName(moid, nic.index));
  }

  /**
   * Makes the namespace of an endpoint VM, with its cards as eth0, eth1, …
   * @returns its path
   */
  async connectEndpoint(moid: string, nics: RuntimeNic[]): Promise<string> {
    const namespace = `${this.namespace}-${moid}`;
    const path = `/run/netns/${namespace}`;
    if (existsSync(path)) return path;
    await this.open();
    await ip(['netns', 'add', namespace]);
    await ip(['-n', namespace, 'link', 'set', 'lo', 'up']);
    const lines = nics
      .filter((nic) => nic.connected)
      .flatMap((nic) => {
        const outer = tapName(moid, nic.index);
        return [
          `link add ${outer} type veth peer name eth${nic.index} netns ${namespace}`,
          `link set ${outer} master ${this.bridge(nic.portGroup)} up`,
        ];
      });
    if (lines.length > 0) await ip(['-n', this.namespace], lines);
    for (const nic of nics) await ip(['-n', namespace, 'link', 'set', `eth${nic.index}`, 'address', nic.mac, 'up']);
    return path;
  }

  async disconnectEndpoint(moid: string): Promise<void> {
    // Its veths go with it.
    await ip(['netns', 'delete', `${this.namespace}-${moid}`]).catch(() => undefined);
  }

  /** Removes everything of this instance. */
  async remove(): Promise<void> {
    if (!existsSync('/run/netns')) return;
    for (const name of readdirSync('/run/netns')) {
      if (name === this.namespace || name.startsWith(`${this.namespace}-`))
        await ip(['netns', 'delete', name]).catch(() => undefined);
    }
    this.bridges.clear();
    this.opened = null;
  }

  private bridge(portGroup: string): string {
    const bridge = this.bridges.get(portGroup);
    if (bridge === undefined) throw notFound(`there is no port group '${portGroup}'`);
    return bridge;
  }
}

/** Interface names have at most 15 bytes. */
function bridgeName(portGroup: string): string {
  return `br${createHash('sha256').update(portGroup).digest('hex').slice(0, 10)}`;
}

function tapPrefix(moid: string): string {
  return `t${moid.replace(/^vm-/, '')}`.slice(0, 11);
}

function tapName(moid: string, index: number): string {
  return `${tapPrefix(moid)}n${index}`;
}
