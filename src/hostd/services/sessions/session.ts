/** One client's session: who it is, and what it has made. */
import { randomBytes } from 'node:crypto';
import type { ManagedObjectReference, UserSession } from '../../../vim25/server.js';
import { type Authority, wirePermission } from '../../access/authority.js';
import { type Caller, currentCaller } from '../../access/caller.js';
import type { GuardedObject } from '../../access/guarded-object.js';
import { NOTHING_HELD, type Release } from '../../access/holdings.js';
import type { CallSession, SessionObject } from '../../objects/call-context.js';
import type { ManagedObject } from '../../objects/managed-object.js';
import type { Registry } from '../../objects/registry.js';
import { SimpleObject } from '../../objects/simple-object.js';
import { PROPERTY_COLLECTOR } from '../../references.js';
import { PropertyCollector } from '../property-collector/property-collector.js';
import { PropertyFilter } from '../property-collector/property-filter.js';

/** The session whose call is under way. */
export function currentSession(): Session | undefined {
  const caller = currentCaller();
  return caller instanceof Session ? caller : undefined;
}

/** The views of the session whose call is under way. */
export function viewsOfSession(): ManagedObjectReference[] {
  return [...(currentSession()?.views ?? [])].map((view) => view.ref);
}

/** One client's session. */
export class Session implements Caller, CallSession {
  readonly cookie = randomBytes(24).toString('hex');
  readonly collectors = new Set<SessionObject>();
  readonly views = new Set<SessionObject>();
  readonly readers = new Set<SessionObject>();
  /** The collector that every client sees under the well-known id. */
  readonly defaultCollector: PropertyCollector;
  user: UserSession | null = null;
  lastUse = Date.now();

  constructor(
    registry: Registry,
    private readonly authority: Authority,
  ) {
    this.defaultCollector = new PropertyCollector(registry, PROPERTY_COLLECTOR.value, false);
  }

  get principal(): string | null {
    return this.user?.userName ?? null;
  }

  get restricted(): boolean {
    return !this.authority.isAdministrator(this.principal);
  }

  sees(object: GuardedObject): boolean {
    return this.authority.sees(this, object);
  }

  has(object: GuardedObject, privilege: string): boolean {
    return this.authority.has(this.principal, object, privilege);
  }

  owns(object: GuardedObject): boolean {
    if (object instanceof PropertyCollector) return object === this.defaultCollector || this.collectors.has(object);
    if (object instanceof PropertyFilter) return this.owns(object.owner);
    return [...this.views, ...this.readers].some((own) => own === object);
  }

  rolesOn(object: GuardedObject): number[] {
    return this.principal === null ? [] : this.authority.rolesOn(this.principal, object);
  }

  permissionsOn(object: GuardedObject): object[] {
    const principal = this.restricted ? (this.principal ?? '') : undefined;
    return this.authority.permissionsOn(object, false, principal).map(wirePermission);
  }

  redact<T>(value: T): T {
    // Before the login there is only ServiceInstance to read, and that is the same for everybody.
    return this.restricted && this.principal !== null ? this.authority.redact(this, value) : value;
  }

  hold(bytes: number): Release {
    const { principal } = this;
    return principal === null || !this.restricted ? NOTHING_HELD : this.authority.holdings.take(principal, bytes);
  }

  /** Notes a call, for clients that look at the session. */
  used(): void {
    if (this.user === null) return;
    this.user.lastActiveTime = new Date();
    this.user.callCount = (this.user.callCount ?? 0) + 1;
  }

  dispose(): void {
    this.defaultCollector.dispose();
    for (const collector of this.collectors) collector.dispose();
    for (const view of this.views) view.dispose();
    for (const reader of this.readers) reader.dispose();
    this.readers.clear();
    this.collectors.clear();
    this.views.clear();
    this.user = null;
  }
}

/** Stands in the inventory for the default collector, which each session has of its own under the same id. */
export function defaultCollector(): ManagedObject {
  const filter = (): unknown => currentSession()?.defaultCollector.property('filter') ?? [];
  return new SimpleObject('PropertyCollector', PROPERTY_COLLECTOR.value, { filter }, []);
}
