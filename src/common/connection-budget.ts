/**
 * How many connections a server keeps: when there are as many as it may have, the one that has been idle longest makes room for the next.
 * So clients that hold on to connections, or open them and say nothing, keep nobody else out; only requests under way do.
 */
import { readFileSync } from 'node:fs';

export class ConnectionBudget<C extends object> {
  private readonly all = new Set<C>();
  /** Those that make room, the longest idle first. */
  private readonly idling = new Set<C>();

  /** @param evict ends a connection that has to make room */
  constructor(
    readonly limit: number,
    private readonly evict: (connection: C) => void,
  ) {}

  get size(): number {
    return this.all.size;
  }

  /** Takes in a connection, which is idle at first. @returns false: all are busy, and there is no room for it */
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

  /** Nothing of it is being answered, from now on. */
  idle(connection: C): void {
    if (!this.all.has(connection)) return;
    this.idling.delete(connection);
    this.idling.add(connection);
  }

  /** A request of it is under way. */
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
    // Not told.
  }
  return Number.isNaN(files) ? wanted : Math.max(16, Math.min(wanted, Math.floor(files / 4)));
}
