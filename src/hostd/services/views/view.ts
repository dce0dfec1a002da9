/** What all views have: they are live lists of objects for the property collector, and end with their session. */
import { randomUUID } from 'node:crypto';
import { holdForCaller } from '../../access/caller.js';
import { NOTHING_HELD, sizeOf } from '../../access/holdings.js';
import type { CallContext } from '../../objects/call-context.js';
import { ManagedObject } from '../../objects/managed-object.js';
import type { Registry } from '../../objects/registry.js';

const VIEW_BYTES = 32 * 1024;

export abstract class View extends ManagedObject {
  private kept = NOTHING_HELD;

  constructor(
    protected readonly registry: Registry,
    type: string,
  ) {
    super(type, `session[${randomUUID()}]${type}`);
  }

  /** Counts what the view keeps for its owner, in place of what it kept before. @throws LimitExceeded; the view is unchanged then */
  protected keep(content: unknown): void {
    const kept = holdForCaller(VIEW_BYTES + sizeOf(content));
    this.kept();
    this.kept = kept;
  }

  /** Ends with its session. */
  dispose(): void {
    this.registry.remove(this);
    this.kept();
  }

  DestroyView(_args: unknown, context: CallContext): void {
    context.session.views.delete(this);
    this.dispose();
  }
}
