/**
 * Limits how many connections a server keeps. At the limit, the connection that has been idle longest makes room for the next one. So clients
 * that hold on to connections, or open them and stay silent, keep nobody else out; only requests under way do.
 */
import { readFileSync } from 'node:fs';

export class ConnectionBudget<C extends object> {
  private readonly all = new Set<C>();
  /** Idle connections, the longest idle first. */
  private readonly idling = new Set<C>();

  /** @param evict ends a connection that has to make room */
  constructor(
    readonly limit: number,
    private readonly evict: (connection: C) => void,
  ) {}

  get size(): number {
    return this.all.size;
  }

  /** Admits a connection, which is idle at first. @returns false if all are busy and there is no room */
  enter(connection: C): boolean {
    if (this.all.size >= this.limit && !this.makeRoom()) return false;
    this.all.add(connection);
    this.idling.add(connection);
    return true;
  }

  /** Ends the one that has been idle longest. @returns false when there is none */
  makeRoom(): boolean {
    const [longest] = this.idling;
    if (longest === undefined) return false;
    this.leave(longest);
    this.evict(longest);
    return true;
  }

  /** From now on no request is being answered on it. */
  idle(connection: C): void {
    if (!this.all.has(connection)) return;
    this.idling.delete(connection);
    this.idling.add(connection);
  }

  /** A request on it is under way. */
  busy(connection: C): void {
    this.idling.delete(connection);
  }

  leave(connection: C): void {
    this.all.delete(connection);
    this.idling.delete(connection);
  }
}

/** How many connections one listening socket of this process may have: at most `wanted`, and a quarter of the descriptors there are. */
export function connectionLimit(wanted: number): number {
  let files = Number.NaN;
  try {
    files = Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]);
  } catch {
    // The system does not say.
  }
  return Number.isNaN(files) ? wanted : Math.max(16, Math.min(wanted, Math.floor(files / 4)));
}
