/**
 * Interfaces that are being removed. The kernel takes some 30 ms for each, mostly waiting, and nobody needs to wait with it but who wants to
 * use a name or an address again. A process that is killed meanwhile leaves an interface that the next one finds by its name.
 */
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { removeLinks } from './namespaces.js';

const log = logger('switch');

export class LeavingLinks {
  private readonly leaving = new Map<string, Promise<void>>();

  /** @param remove removes interfaces of a namespace, some of which may be gone already */
  constructor(
    private readonly namespace: string,
    private readonly remove: (namespace: string, names: string[]) => Promise<void> = removeLinks,
  ) {}

  /** Begins to remove an interface; one that is leaving already is left to that. If it stays, that is logged. */
  begin(name: string): void {
    if (this.leaving.has(name)) return;
    const gone = this.remove(this.namespace, [name])
      .catch((error: unknown) => log.warn({ name, err: messageOf(error) }, 'an interface that nobody uses stays'))
      .finally(() => this.leaving.delete(name));
    this.leaving.set(name, gone);
  }

  /** Resolves when none of the interfaces that are leaving now, and that `which` is true of, is there any more. */
  async gone(which: (name: string) => boolean = () => true): Promise<void> {
    await Promise.all([...this.leaving].filter(([name]) => which(name)).map(([, gone]) => gone));
  }
}
