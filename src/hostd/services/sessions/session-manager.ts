/** SessionManager: logs clients in and out. */
import { createHash, randomUUID, timingSafeEqual } from 'node:crypto';
import type { UserSession } from '../../../vim25/server.js';
import type { Authority } from '../../access/authority.js';
import { currentCaller } from '../../access/caller.js';
import { fault } from '../../faults.js';
import type { CallContext } from '../../objects/call-context.js';
import { ManagedObject } from '../../objects/managed-object.js';
import type { Registry } from '../../objects/registry.js';
import { SESSION_MANAGER } from '../../references.js';
import type { EventManager } from '../events/event-manager.js';
import { LoginGuard } from './login-guard.js';
import { currentSession, Session } from './session.js';

const IDLE_MS = 30 * 60_000;
const MAX_SESSIONS = 500;
/** Of one user who is no administrator: nobody's sessions end because somebody else logs in again and again. */
const MAX_OF_USER = 50;

/** A call whose session can be logged in and out. */
type SessionCall = CallContext & { session: Session };

/** Logs clients in and out. */
export class SessionManager extends ManagedObject {
  private readonly sessions = new Map<string, Session>();
  private readonly guard: LoginGuard;

  constructor(
    private readonly registry: Registry,
    private readonly events: EventManager,
    private readonly credentials: { user: string; password: string },
    private readonly authority: Authority,
  ) {
    super('SessionManager', SESSION_MANAGER.value);
    this.guard = new LoginGuard(events);
    setInterval(() => this.expire(), 60_000).unref();
  }

  override get types(): string[] {
    return ['SessionManager'];
  }

  property(name: string): unknown {
    switch (name) {
      case 'currentSession':
        return currentSession()?.user ?? undefined;
      case 'sessionList':
        return [...this.sessions.values()].flatMap((session) => (mayLookAt(session) ? (session.user ?? []) : []));
      case 'defaultLocale':
        return 'en';
      case 'messageLocaleList':
      case 'supportedLocaleList':
        return ['en'];
      case 'message':
        return '';
      default:
        return undefined;
    }
  }

  propertyNames(): string[] {
    return ['currentSession', 'sessionList', 'defaultLocale', 'messageLocaleList', 'supportedLocaleList', 'message'];
  }

  /** The session of a cookie, or a new one that is not logged in. */
  open(cookie: string | undefined): Session {
    const known = cookie === undefined ? undefined : this.sessions.get(cookie);
    if (known !== undefined) {
      known.lastUse = Date.now();
      known.used();
      return known;
    }
    return new Session(this.registry, this.authority);
  }

  /** A session for one request that carries its own login. */
  once(userName: string, address: string): Session {
    const session = new Session(this.registry, this.authority);
    session.user = newUser(userName, { address, agent: '' });
    return session;
  }

  /** Ends the sessions of a user who was removed or got another password. */
  endAllOf(userName: string): void {
    for (const session of this.sessions.values()) if (session.principal === userName) this.end(session);
  }

  async Login(
    args: { userName: string; password: string; locale?: string },
    context: SessionCall,
  ): Promise<UserSession> {
    if (!(await this.accepts(args.userName, args.password, context.client.address)))
      throw fault('InvalidLogin', 'Cannot complete login due to an incorrect user name or password.');
    // An administrator may have all the room that others leave.
    const own = [...this.sessions.values()].filter(({ principal }) => principal === args.userName);
    if (own.length >= MAX_OF_USER && args.userName !== this.credentials.user) this.dropOldest(own);
    if (this.sessions.size >= MAX_SESSIONS) this.dropOldest([...this.sessions.values()]);
    context.session.user = newUser(args.userName, context.client, args.locale?.slice(0, 32));
    this.sessions.set(context.session.cookie, context.session);
    this.events.post('UserLoginSessionEvent', `User ${args.userName} logged in`, args.userName, {
      ipAddress: context.client.address,
      userAgent: context.client.agent,
      locale: 'en',
      sessionId: context.session.user.key,
    });
    return context.session.user;
  }

  /** Checks user and password; a wrong one from `address` waits for its answer. @throws RequestCanceled */
  async accepts(user: string, password: string, address: string): Promise<boolean> {
    const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
    const same = timingSafeEqual(digest(password), digest(this.credentials.password));
    if (timingSafeEqual(digest(user), digest(this.credentials.user))) {
      if (same) return true;
    } else if (await this.authority.accounts.accepts(user, password)) return true;
    await this.guard.failed(address);
    return false;
  }

  Logout(_args: unknown, context: SessionCall): void {
    if (context.session.user !== null)
      this.events.post('UserLogoutSessionEvent', `User ${context.userName} logged out`, context.userName);
    this.end(context.session);
  }

  SessionIsActive(args: { sessionID: string; userName: string }): boolean {
    return [...this.sessions.values()].some(
      (session) => session.user?.key === args.sessionID && session.user.userName === args.userName,
    );
  }

  /** @throws InvalidArgument for one's own session, NotFound for one that is not there */
  TerminateSession(args: { sessionId?: string[] }, context: SessionCall): void {
    for (const key of args.sessionId ?? []) {
      if (key === context.session.user?.key)
        throw fault('InvalidArgument', 'A session cannot terminate itself', { invalidProperty: 'sessionId' });
      const session = [...this.sessions.values()].find(({ user }) => user?.key === key);
      if (session === undefined) throw fault('NotFound', `There is no session '${key.slice(0, 80)}'`);
      this.end(session);
    }
  }

  private end(session: Session): void {
    this.sessions.delete(session.cookie);
    session.dispose();
  }

  private expire(): void {
    for (const session of this.sessions.values()) if (Date.now() - session.lastUse > IDLE_MS) this.end(session);
  }

  private dropOldest(sessions: Session[]): void {
    const oldest = sessions.sort((a, b) => a.lastUse - b.lastUse)[0];
    if (oldest !== undefined) this.end(oldest);
  }

  close(): void {
    for (const session of this.sessions.values()) session.dispose();
    this.sessions.clear();
  }
}

/** True for a session that the caller may know of: an administrator any, others their own. */
function mayLookAt(session: Session): boolean {
  const caller = currentCaller();
  return caller === undefined || !caller.restricted || caller === session;
}

function newUser(userName: string, client: CallContext['client'], locale = 'en'): UserSession {
  const now = new Date();
  return {
    key: randomUUID(),
    userName,
    fullName: userName,
    loginTime: now,
    lastActiveTime: now,
    locale,
    messageLocale: 'en',
    extensionSession: false,
    ipAddress: client.address,
    userAgent: client.agent,
    callCount: 0,
  };
}
