/** Watches properties of all objects of a type below a container, with WaitForUpdatesEx. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { messageOf } from '../common/errors.js';
import { logger } from '../common/log.js';
import type { VimClient } from './client.js';
import type { ManagedObjectReference, ObjectUpdate, UpdateSet } from './types.generated.js';

const log = logger('vim25');

const POLL_SECONDS = 55;

/** An object as it is now; properties that are unset are absent. */
export interface WatchedObject {
  ref: ManagedObjectReference;
  props: Map<string, unknown>;
}

/** Is told what happens to the watched objects. Calls come one after the other; what they throw is logged. */
export interface WatchListener {
  /** The object appeared, or some of its properties changed (`changed` names them; for a new object, all). */
  changed(object: WatchedObject, changed: Set<string>): void;
  left(ref: ManagedObjectReference): void;
}

interface Session {
  collector: ManagedObjectReference;
  view: ManagedObjectReference | undefined;
  version: string;
}

/**
 * Keeps a live picture of objects and reports each change. After losing its session or connection, it starts over with a full picture and
 * reports the differences.
 */
export class PropertyWatcher {
  readonly objects = new Map<string, WatchedObject>();
  private readonly stop = new AbortController();
  private running: Promise<void> | null = null;

  /** @param scope a container (all objects of `type` below it, now and later), or a list of objects */
  constructor(
    private readonly client: VimClient,
    private readonly scope: ManagedObjectReference | ManagedObjectReference[],
    private readonly type: string,
    private readonly paths: string[],
    private readonly listener: WatchListener,
  ) {}

  /** Resolves when the first full picture is complete. @throws VimFault, unavailable */
  async start(): Promise<void> {
    const session = await this.open();
    try {
      await this.readAll(session);
    } catch (error) {
      await this.discard(session);
      throw error;
    }
    this.running = this.run(session);
  }

  /** Stops watching and removes what it made on the server. */
  async close(): Promise<void> {
    this.stop.abort();
    await this.running;
  }

  private async run(first: Session): Promise<void> {
    let session: Session | undefined = first;
    let delayMs = 250;
    while (!this.stop.signal.aborted) {
      try {
        if (session === undefined) {
          session = await this.open();
          await this.readAll(session);
          log.info('watching the inventory again');
        }
        const set = await this.wait(session, POLL_SECONDS);
        delayMs = 250;
        if (set === undefined) continue;
        session.version = set.version;
        for (const update of objectUpdates(set)) this.apply(update);
      } catch (error) {
        if (this.stop.signal.aborted) break;
        log.warn({ err: messageOf(error) }, 'watching the inventory was interrupted');
        if (session !== undefined) await this.discard(session);
        session = undefined;
        await sleep(delayMs, undefined, { signal: this.stop.signal }).catch(() => undefined);
        delayMs = Math.min(delayMs * 2, 5000);
      }
    }
    if (session !== undefined) await this.discard(session);
  }

  /** A collector of its own with one filter. */
  private async open(): Promise<Session> {
    const { viewManager, propertyCollector } = this.client.serviceContent;
    const collector = await this.client.call('CreatePropertyCollector', propertyCollector, {});
    const session: Session = { collector, view: undefined, version: '' };
    try {
      if (!Array.isArray(this.scope)) {
        session.view = await this.client.call('CreateContainerView', viewManager!, {
          container: this.scope,
          type: [this.type],
          recursive: true,
        });
      }
      const traversal = {
        $type: 'TraversalSpec' as const,
        name: 'view',
        type: 'ContainerView',
        path: 'view',
        skip: false,
      };
      const objectSet =
        session.view !== undefined
          ? [{ obj: session.view, skip: true, selectSet: [traversal] }]
          : (this.scope as ManagedObjectReference[]).map((obj) => ({ obj, skip: false }));
      await this.client.call('CreateFilter', collector, {
        spec: { propSet: [{ type: this.type, pathSet: this.paths, all: false }], objectSet },
        partialUpdates: false,
      });
      return session;
    } catch (error) {
      await this.discard(session);
      throw error;
    }
  }

  private async discard(session: Session): Promise<void> {
    const none = (): undefined => undefined;
    await this.client.call('DestroyPropertyCollector', session.collector, {}).catch(none);
    if (session.view !== undefined) await this.client.call('DestroyView', session.view, {}).catch(none);
  }

  private wait(session: Session, maxWaitSeconds: number): Promise<UpdateSet | undefined> {
    return this.client.call(
      'WaitForUpdatesEx',
      session.collector,
      { version: session.version, options: { maxWaitSeconds } },
      { signal: this.stop.signal, idleTimeoutMs: (maxWaitSeconds + 30) * 1000 },
    );
  }

  /** Reads the full picture, in as many answers as it takes, and reports what has changed. */
  private async readAll(session: Session): Promise<void> {
    const seen = new Map<string, WatchedObject>();
    for (;;) {
      const set = await this.wait(session, 0);
      if (set === undefined) break;
      session.version = set.version;
      for (const { obj, changeSet } of objectUpdates(set)) {
        const object = seen.get(obj.value) ?? { ref: obj, props: new Map() };
        seen.set(obj.value, object);
        for (const change of changeSet ?? []) if (change.val !== undefined) object.props.set(change.name, change.val);
      }
      if (set.truncated !== true) break;
    }
    for (const object of [...this.objects.values()]) if (!seen.has(object.ref.value)) this.leave(object.ref);
    for (const { ref, props } of seen.values()) {
      const old = this.objects.get(ref.value);
      const names = new Set([...props.keys(), ...(old?.props.keys() ?? [])]);
      const changed = new Set([...names].filter((name) => !isDeepStrictEqual(old?.props.get(name), props.get(name))));
      if (old === undefined || changed.size > 0) this.change(ref, props, changed);
    }
  }

  private apply(update: ObjectUpdate): void {
    if (update.kind === 'leave') {
      this.leave(update.obj);
      return;
    }
    const props = new Map(this.objects.get(update.obj.value)?.props);
    const changed = new Set<string>();
    for (const { name, val } of update.changeSet ?? []) {
      if (val === undefined) props.delete(name);
      else props.set(name, val);
      changed.add(name);
    }
    this.change(update.obj, props, changed);
  }

  private change(ref: ManagedObjectReference, props: Map<string, unknown>, changed: Set<string>): void {
    const object = { ref, props };
    this.objects.set(ref.value, object);
    this.tell(() => this.listener.changed(object, changed));
  }

  private leave(ref: ManagedObjectReference): void {
    if (this.objects.delete(ref.value)) this.tell(() => this.listener.left(ref));
  }

  private tell(call: () => void): void {
    try {
      call();
    } catch (error) {
      log.error({ err: messageOf(error) }, 'the listener of a watched inventory failed');
    }
  }
}

function objectUpdates(set: UpdateSet): ObjectUpdate[] {
  return (set.filterSet ?? []).flatMap((filter) => filter.objectSet ?? []);
}
