/** What an operation knows of its call. */
import type { UserSession } from '../../vim25/server.js';
import type { ManagedObject } from './managed-object.js';

/** An object that ends with the session of its client. */
export type SessionObject = ManagedObject & { dispose(): void };

/** The session of a call, with what the client has made in it. */
export interface CallSession {
  /** Null before the login. */
  readonly user: UserSession | null;
  readonly collectors: Set<SessionObject>;
  readonly views: Set<SessionObject>;
  /** Collectors of events. */
  readonly readers: Set<SessionObject>;
}

export interface CallContext {
  session: CallSession;
  /** Aborted when the client hangs up. */
  signal: AbortSignal;
  userName: string;
  /** Who calls: address and what it says it is. */
  client: { address: string; agent: string };
}
