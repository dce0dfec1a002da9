/** Watching properties of all objects of a type below a container, with WaitForUpdatesEx. */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../common/errors.js';
import { logger } from '../common/log.js';
import type { VimClient } from './client.js';
import type { ManagedObjectReference, UpdateSet } from './types.generated.js';

const log = logger('vim25');

/** An object as it is now; `null` properties were unset. */
export interface WatchedObject {
  ref: ManagedObjectReference;
  props: Map<string, unknown>;
}

/** What happens to the watched objects. */
export interface WatchListener {
  /** The object appeared, or properties of it changed (`changed` names them; all for a new one). */
  changed(object: WatchedObject, changed: Set<string>): void;
  left(ref: ManagedObjectReference): void;
}

/**
 * Keeps a live picture of objects and tells of each change. After a lost session or connection it starts over with a full
 * picture, and tells the differences.
 */
export class PropertyWatcher {
  readonly objects = new Map<string, WatchedObject>();
  private readonly stop = new AbortController();
  private running: Promise<void> | null = null;

  constructor(
    private readonly client: VimClient,
    private readonly container: ManagedObjectReference,
    private readonly type: string,
    private readonly paths: string[],
    private readonly listener: WatchListener,
  ) {}

  /** Resolves when the first full picture is there. */
  async start(): Promise<void> {
    const session = await this.open();
    let version = await this.next(session, '', 1);
    this.running = (async () => {
      let current: Session | null = session;
      while (!this.stop.signal.aborted) {
        try {
          current ??= await this.open();
          version = await this.next(current, version, 55);
        } catch (error) {
          if (this.stop.signal.aborted) return;
          log.warn({ err: messageOf(error) }, 'watching the inventory was interrupted');
          current = null;
          version = '';
          await sleep(250, undefined, { signal: this.stop.signal }).catch(() => undefined);
        }
      }
    })();
  }

  async close(): Promise<void> {
    this.stop.abort();
    await this.running;
  }

  private async open(): Promise<Session> {
    const { viewManager, propertyCollector } = this.client.serviceContent;
    const view = await this.client.call('CreateContainerView', viewManager!, {
      container: this.container,
      type: [this.type],
      recursive: true,
    });
    const collector = await this.client.call('CreatePropertyCollector', propertyCollector, {});
    await this.client.call('CreateFilter', collector, {
      spec: {
        propSet: [{ type: this.type, pathSet: this.paths, all: false }],
        objectSet: [
          {
            obj: view,
            skip: true,
            selectSet: [
              { $type: 'TraversalSpec', name: 'view', type: 'ContainerView', path: 'view', skip: false, selectSet: [] },
            ],
          },
        ],
      },
      partialUpdates: false,
    });
    return { collector };
  }

  /** One wait; returns the new version. */
  private async next(session: Session, version: string, maxWaitSeconds: number): Promise<string> {
    const first = version === '';
    const seen = new Set<string>();
    for (;;) {
      const set: UpdateSet | undefined = await this.client.call(
        'WaitForUpdatesEx',
        session.collector,
        { version, options: { maxWaitSeconds } },
        { signal: this.stop.signal, idleTimeoutMs: (maxWaitSeconds + 30) * 1000 },
      );
      if (set !== undefined) {
        version = set.version;
        this.apply(set, seen);
        if (set.truncated === true) continue;
      }
      if (first) for (const [id, object] of [...this.objects]) if (!seen.has(id)) this.leave(object.ref);
      return version;
    }
  }

  private apply(set: UpdateSet, seen: Set<string>): void {
    for (const update of (set.filterSet ?? []).flatMap((filter) => filter.objectSet ?? [])) {
      const id = update.obj.value;
      seen.add(id);
      if (update.kind === 'leave') {
        this.leave(update.obj);
        continue;
      }
      const object = this.objects.get(id) ?? { ref: update.obj, props: new Map() };
      this.objects.set(id, object);
      const changed = new Set<string>();
      for (const change of update.changeSet ?? []) {
        if (change.op === 'remove' || change.op === 'indirectRemove') object.props.delete(change.name);
        else object.props.set(change.name, change.val);
        changed.add(change.name);
      }
      this.listener.changed(object, changed);
    }
  }

  private leave(ref: ManagedObjectReference): void {
    if (this.objects.delete(ref.value)) this.listener.left(ref);
  }
}

interface Session {
  collector: ManagedObjectReference;
}
