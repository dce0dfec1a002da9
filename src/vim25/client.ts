/** The vSphere client: a session, typed calls, properties and tasks. */
import { isKind, unauthorized } from '../common/errors.js';
import { logger } from '../common/log.js';
import { span } from '../common/trace.js';
import { DatastoreClient, type HandingSpool } from './datastore.js';
import { VimFault } from './faults.js';
import { decodeResponse, encodeRequest } from './soap-message.js';
import { SoapService } from './soap-service.js';
import { TaskWaiter } from './task-waiter.js';
import { Transport } from './transport.js';
import type { CallOptions, PropertyPath, Props, RetrievedObject, VimCalls } from './typed-calls.js';
import type {
  ManagedObjectReference,
  ManagedObjects,
  ObjectContent,
  Operations,
  ServiceContent,
  TaskInfo,
} from './types.generated.js';

const log = logger('vim25');
const SERVICE_INSTANCE: ManagedObjectReference = { type: 'ServiceInstance', value: 'ServiceInstance' };

/** How to reach and log in to a server. */
export interface ConnectOptions {
  /** `https://host:port/sdk` */
  url: string;
  user: string;
  password: string;
  /** SHA-1 of the server's certificate, `AB:CD:…`; without it the system's authorities decide. */
  thumbprint?: string;
  /** A socket of this machine at which the server has the datastore's files too. Without an answer there, HTTPS is used. */
  filesSocket?: string;
  /** A directory of this machine from which the server takes over disks that are asked for at that socket, and its name there. */
  spool?: HandingSpool;
  /** Cancels the attempt to connect; it has no effect on later logins. */
  signal?: AbortSignal;
}

/** A logged-in vSphere client. Close it when done. */
export class VimClient implements VimCalls {
  /** Number of round trips per operation, for tests and benchmarks. */
  readonly calls = new Map<string, number>();
  private readonly tasks: TaskWaiter;
  private login: Promise<void> | null = null;
  /** How often this client has logged in. */
  private sessions = 0;
  private content: ServiceContent | undefined;

  private constructor(
    private readonly transport: Transport,
    private readonly service: SoapService,
    private readonly options: ConnectOptions,
  ) {
    this.tasks = new TaskWaiter(this);
  }

  /** Connects and logs in. @throws invalid for a bad URL, unavailable, unauthorized (a {@link VimFault} InvalidLogin) */
  static async connect(options: ConnectOptions): Promise<VimClient> {
    const transport = new Transport(options.url, options.thumbprint, options.filesSocket);
    const client = new VimClient(transport, await SoapService.open(transport), options);
    const { signal } = options;
    try {
      const content = await client.send('RetrieveServiceContent', SERVICE_INSTANCE, {}, { signal });
      client.content = content as ServiceContent;
      await client.logIn(signal);
      return client;
    } catch (error) {
      client.transport.close();
      throw error;
    }
  }

  /** The server's singletons, and facts about the server. */
  get serviceContent(): ServiceContent {
    return this.content!;
  }

  /**
   * Calls an operation. If the session is gone, logs in again once.
   * @throws VimFault; unavailable if the server cannot be reached; cancelled
   */
  async call<M extends keyof Operations>(
    operation: M,
    target: ManagedObjectReference,
    args: Operations[M]['args'],
    options: CallOptions = {},
  ): Promise<Operations[M]['result']> {
    const session = this.sessions;
    try {
      const result = await span(`vim25 ${operation}`, () => this.send(operation, target, args, options));
      return result as Operations[M]['result'];
    } catch (error) {
      if (!(error instanceof VimFault && error.is('NotAuthenticated'))) throw error;
      await this.logInAfter(session);
      return (await this.send(operation, target, args, options)) as Operations[M]['result'];
    }
  }

  /** Reads properties of objects. Objects that have vanished are left out, and so are unset properties. */
  async retrieve<T extends keyof ManagedObjects>(
    refs: ManagedObjectReference[],
    type: T,
    paths: PropertyPath<T>[],
  ): Promise<RetrievedObject<T>[]> {
    let left = refs;
    while (left.length > 0) {
      try {
        return await this.retrieveAll(left, type, paths);
      } catch (error) {
        if (!isKind(error, 'notFound')) throw error;
        // One of them is gone, which turns the whole answer into a fault: try again without it.
        const gone = (error as VimFault).fault?.obj as ManagedObjectReference | undefined;
        const rest = left.filter((ref) => ref.value !== gone?.value);
        if (rest.length === left.length) {
          if (left.length === 1) return [];
          return (await Promise.all(left.map((ref) => this.retrieve([ref], type, paths)))).flat();
        }
        left = rest;
      }
    }
    return [];
  }

  private async retrieveAll<T extends keyof ManagedObjects>(
    refs: ManagedObjectReference[],
    type: T,
    paths: PropertyPath<T>[],
  ): Promise<RetrievedObject<T>[]> {
    const collector = this.serviceContent.propertyCollector;
    const result: RetrievedObject<T>[] = [];
    const session = this.sessions;
    const specSet = [
      { propSet: [{ type, pathSet: paths, all: false }], objectSet: refs.map((obj) => ({ obj, skip: false })) },
    ];
    let page = await this.call('RetrievePropertiesEx', collector, { specSet, options: {} });
    // Here a lost session is not reported as a fault; instead, every property is reported missing.
    if (page?.objects?.some(isNotAuthenticated)) {
      await this.logInAfter(session);
      page = await this.call('RetrievePropertiesEx', collector, { specSet, options: {} });
    }
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

  /**
   * Waits for a task to end. Aborting ends the wait, not the task.
   * @returns its info
   * @throws VimFault with the task's error; notFound if the server no longer knows it; cancelled
   */
  waitTask(
    task: ManagedObjectReference,
    options: { signal?: AbortSignal; onProgress?: (percent: number) => void } = {},
  ): Promise<TaskInfo> {
    return this.tasks.wait(task, options);
  }

  /** Calls an operation that returns a task, and waits for it to end. @returns the task's result */
  async runTask<M extends TaskOperation>(
    operation: M,
    target: ManagedObjectReference,
    args: Operations[M]['args'],
    options: { signal?: AbortSignal; onProgress?: (percent: number) => void } = {},
  ): Promise<unknown> {
    return span(`task ${operation}`, async () => {
      const task = (await this.call(operation, target, args, { signal: options.signal })) as ManagedObjectReference;
      // Many tasks are done by now, and looking takes one round trip while waiting takes three.
      const [object] = await this.retrieve([task], 'Task', ['info']);
      if (object?.props.info?.state === 'success') return object.props.info.result;
      return (await this.waitTask(task, options)).result;
    });
  }

  /** Files of a datastore. */
  datastore(name: string, datacenter: string): DatastoreClient {
    const session = { number: () => this.sessions, renew: (number: number) => this.logInAfter(number) };
    return new DatastoreClient(this.transport, name, datacenter, session, this.options.spool);
  }

  /** Logs out and closes all connections. */
  async close(): Promise<void> {
    this.tasks.close();
    const { sessionManager } = this.serviceContent;
    if (sessionManager !== undefined) {
      // A server that cannot be reached forgets the session by itself.
      await this.send('Logout', sessionManager, {}, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
    }
    this.transport.close();
  }

  /** Logs in again, unless that has happened since session number `session`; concurrent callers share one login. */
  private async logInAfter(session: number): Promise<void> {
    if (this.sessions !== session) return;
    log.info('session lost, logging in again');
    await this.logIn();
  }

  private logIn(signal?: AbortSignal): Promise<void> {
    this.login ??= this.newSession(signal).finally(() => {
      this.login = null;
    });
    return this.login;
  }

  private async newSession(signal: AbortSignal | undefined): Promise<void> {
    const { sessionManager } = this.serviceContent;
    if (sessionManager === undefined) throw unauthorized('the server has no session manager');
    const { user, password } = this.options;
    this.transport.dropSession();
    await this.send('Login', sessionManager, { userName: user, password }, { signal });
    this.sessions += 1;
  }

  /** One round trip. */
  private async send(
    operation: string,
    target: ManagedObjectReference,
    args: object,
    options: CallOptions,
  ): Promise<unknown> {
    const content = encodeRequest(operation, target, args);
    this.calls.set(operation, (this.calls.get(operation) ?? 0) + 1);
    const reply = await this.service.call(operation, content, options);
    const response = decodeResponse(operation, reply);
    if (response.kind === 'fault') throw new VimFault(operation, response.fault, response.message);
    return response.value;
  }
}

function isNotAuthenticated({ missingSet }: ObjectContent): boolean {
  return missingSet?.some(({ fault }) => fault.fault?.$type === 'NotAuthenticated') ?? false;
}

/** Operations whose name ends in `_Task`. */
export type TaskOperation = Extract<keyof Operations, `${string}_Task`>;
