/** The vSphere client: a session, typed calls, properties and tasks. */
import { isKind, unauthorized } from '../common/errors.js';
import { currentOperation, logger } from '../common/log.js';
import { DatastoreClient } from './datastore.js';
import { VimFault } from './faults.js';
import { decodeResponse, encodeRequest, envelope } from './soap-message.js';
import { TaskWaiter } from './task-waiter.js';
import { readText, Transport } from './transport.js';
import type {
  ManagedObjectReference,
  ManagedObjects,
  Operations,
  ServiceContent,
  TaskInfo,
} from './types.generated.js';
import { escapeXml } from './xml.js';

const log = logger('vim25');
const SERVICE_INSTANCE: ManagedObjectReference = { type: 'ServiceInstance', value: 'ServiceInstance' };
const HEADERS = { 'content-type': 'text/xml; charset=utf-8', soapaction: 'urn:vim25/6.7' };

/** How to reach and log in to a server. */
export interface ConnectOptions {
  /** `https://host:port/sdk` */
  url: string;
  user: string;
  password: string;
  /** SHA-1 of the server's certificate, `AB:CD:…`; without it the system's authorities decide. */
  thumbprint?: string;
  signal?: AbortSignal;
}

/** An object with some of its properties; nested paths (`config.extraConfig`) are keys of their own. */
export interface RetrievedObject<T extends keyof ManagedObjects> {
  ref: ManagedObjectReference;
  props: Props<T>;
}

/** Property values by path: first-level ones typed, nested ones by walking the path. */
export type Props<T extends keyof ManagedObjects> = { [P in PropertyPath<T>]?: PathValue<ManagedObjects[T], P> };

type Defined<V> = Exclude<V, undefined>;
type Key<T> = Extract<keyof T, string>;
/** `a`, `a.b` or `a.b.c`. */
export type PropertyPath<T extends keyof ManagedObjects> =
  | Key<ManagedObjects[T]>
  | {
      [A in Key<ManagedObjects[T]>]: Defined<ManagedObjects[T][A]> extends unknown[] | string | number | boolean | Date
        ? never
        : `${A}.${Key<Defined<ManagedObjects[T][A]>>}`;
    }[Key<ManagedObjects[T]>];
type PathValue<O, P extends string> = P extends `${infer A}.${infer B}`
  ? A extends keyof O
    ? PathValue<Defined<O[A]>, B>
    : unknown
  : P extends keyof O
    ? Defined<O[P]>
    : unknown;

/** A logged-in vSphere client. Close it when done. */
export class VimClient {
  /** Round trips by operation, for those who count them. */
  readonly calls = new Map<string, number>();
  private readonly tasks: TaskWaiter;
  private login: Promise<void> | null = null;

  private constructor(
    private readonly transport: Transport,
    private readonly options: ConnectOptions,
    readonly serviceContent: ServiceContent,
  ) {
    this.tasks = new TaskWaiter(this);
  }

  /** Connects and logs in. @throws unavailable, unauthorized (a {@link VimFault} InvalidLogin) */
  static async connect(options: ConnectOptions): Promise<VimClient> {
    const transport = new Transport(options.url, options.thumbprint);
    try {
      const content = await send(transport, 'RetrieveServiceContent', SERVICE_INSTANCE, {}, options.signal);
      const client = new VimClient(transport, options, content as ServiceContent);
      await client.logIn();
      return client;
    } catch (error) {
      transport.close();
      throw error;
    }
  }

  /**
   * Calls an operation. Logs in again once when the session has gone.
   * @throws VimFault; unavailable when the server can't be reached; cancelled
   */
  async call<M extends keyof Operations>(
    operation: M,
    target: ManagedObjectReference,
    args: Operations[M]['args'],
    options: { signal?: AbortSignal; idleTimeoutMs?: number } = {},
  ): Promise<Operations[M]['result']> {
    this.calls.set(operation, (this.calls.get(operation) ?? 0) + 1);
    try {
      return (await send(
        this.transport,
        operation,
        target,
        args,
        options.signal,
        options.idleTimeoutMs,
      )) as Operations[M]['result'];
    } catch (error) {
      if (!(error instanceof VimFault && error.is('NotAuthenticated'))) throw error;
      log.info({ operation }, 'session lost, logging in again');
      await this.logIn();
      return (await send(
        this.transport,
        operation,
        target,
        args,
        options.signal,
        options.idleTimeoutMs,
      )) as Operations[M]['result'];
    }
  }

  /** Properties of objects. Objects that vanished meanwhile are left out. */
  async retrieve<T extends keyof ManagedObjects>(
    refs: ManagedObjectReference[],
    type: T,
    paths: PropertyPath<T>[],
  ): Promise<RetrievedObject<T>[]> {
    if (refs.length === 0) return [];
    try {
      return await this.retrieveAll(refs, type, paths);
    } catch (error) {
      if (!isKind(error, 'notFound') || refs.length === 1) {
        if (isKind(error, 'notFound')) return [];
        throw error;
      }
      // One of many is gone: ask one by one.
      return (await Promise.all(refs.map((ref) => this.retrieve([ref], type, paths)))).flat();
    }
  }

  private async retrieveAll<T extends keyof ManagedObjects>(
    refs: ManagedObjectReference[],
    type: T,
    paths: PropertyPath<T>[],
  ): Promise<RetrievedObject<T>[]> {
    const collector = this.serviceContent.propertyCollector;
    const result: RetrievedObject<T>[] = [];
    let page = await this.call('RetrievePropertiesEx', collector, {
      specSet: [
        { propSet: [{ type, pathSet: paths, all: false }], objectSet: refs.map((obj) => ({ obj, skip: false })) },
      ],
      options: {},
    });
    while (page !== undefined) {
      for (const object of page.objects ?? []) {
        const props = Object.fromEntries((object.propSet ?? []).map((property) => [property.name, property.val]));
        result.push({ ref: object.obj, props: props as Props<T> });
      }
      if (page.token === undefined) break;
      page = await this.call('ContinueRetrievePropertiesEx', collector, { token: page.token });
    }
    return result;
  }

  /** Waits for a task's end. @returns its info; @throws VimFault with the task's error; cancelled */
  waitTask(
    task: ManagedObjectReference,
    options: { signal?: AbortSignal; onProgress?: (percent: number) => void } = {},
  ): Promise<TaskInfo> {
    return this.tasks.wait(task, options);
  }

  /** Calls an operation that gives a task, and waits for its end. @returns the task's result */
  async runTask<M extends TaskOperation>(
    operation: M,
    target: ManagedObjectReference,
    args: Operations[M]['args'],
    options: { signal?: AbortSignal; onProgress?: (percent: number) => void } = {},
  ): Promise<unknown> {
    const task = (await this.call(operation, target, args)) as ManagedObjectReference;
    return (await this.waitTask(task, options)).result;
  }

  /** Files of a datastore. */
  datastore(name: string, datacenter: string): DatastoreClient {
    return new DatastoreClient(this.transport, name, datacenter, () => this.logIn());
  }

  /** Logs out and closes all connections. */
  async close(): Promise<void> {
    this.tasks.close();
    if (this.serviceContent.sessionManager !== undefined) {
      await send(this.transport, 'Logout', this.serviceContent.sessionManager, {}, AbortSignal.timeout(2000)).catch(
        () => undefined,
      );
    }
    this.transport.close();
  }

  /** Logs in; several callers at once share one login. */
  private logIn(): Promise<void> {
    this.login ??= this.newSession().finally(() => {
      this.login = null;
    });
    return this.login;
  }

  private async newSession(): Promise<void> {
    const { sessionManager } = this.serviceContent;
    if (sessionManager === undefined) throw unauthorized('the server has no session manager');
    const { user, password, signal } = this.options;
    await send(this.transport, 'Login', sessionManager, { userName: user, password }, signal);
  }
}

/** Operations whose name ends in `_Task`. */
export type TaskOperation = Extract<keyof Operations, `${string}_Task`>;

async function send(
  transport: Transport,
  operation: string,
  target: ManagedObjectReference,
  args: object,
  signal?: AbortSignal,
  idleTimeoutMs?: number,
): Promise<unknown> {
  const id = currentOperation();
  const body = `<${operation} xmlns="urn:vim25">${encodeRequest(operation, target, args)}</${operation}>`;
  const header = id === undefined ? '' : `<operationID xmlns="urn:vim25">${escapeXml(id)}</operationID>`;
  const text = envelope(body, header);
  const answer = await transport.exchange({
    method: 'POST',
    path: transport.sdkPath,
    headers: { ...HEADERS, 'content-length': Buffer.byteLength(text) },
    body: text,
    signal,
    idleTimeoutMs,
  });
  const response = decodeResponse(operation, await readText(answer));
  if (response.kind === 'fault') throw new VimFault(operation, response.fault, response.message);
  return response.value;
}
