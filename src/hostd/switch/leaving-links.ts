/**
 * Interfaces that are being removed. The kernel takes some 30 ms for each, mostly waiting, and nobody needs to wait with it but who wants to
 * use a name or an address again. A process that is killed meanwhile leaves an interface that the next one finds by its name.
 *
 * Starting the program that removes them stops hostd for some milliseconds, so that happens after whoever asked has been answered, and once for
 * those that leave together: a network's card and its bridge.
 */
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { removeLinks } from './namespaces.js';

const log = logger('switch');

/** How long the first of them waits for others. */
const TOGETHER_MS = 15;

/** Interfaces that leave together. */
interface Group {
  names: string[];
  begin(): void;
  gone: Promise<void>;
}

export class LeavingLinks {
  private readonly leaving = new Map<string, Group>();
  /** Others may join it still. */
  private next: Group | null = null;

  /** @param remove removes interfaces of a namespace, some of which may be gone already */
  constructor(
    private readonly namespace: string,
    private readonly remove: (namespace: string, names: string[]) => Promise<void> = removeLinks,
    private readonly togetherMs = TOGETHER_MS,
  ) {}

  /** Has an interface removed soon; one that is leaving already is left to that. If it stays, that is logged. */
  begin(name: string): void {
    if (this.leaving.has(name)) return;
    this.next ??= this.group();
    this.next.names.push(name);
    this.leaving.set(name, this.next);
  }

  /** Resolves when none of the interfaces that are leaving now, and that `which` is true of, is there any more. */
  async gone(which: (name: string) => boolean = () => true): Promise<void> {
    const groups = new Set([...this.leaving].filter(([name]) => which(name)).map(([, group]) => group));
    for (const { begin } of groups) begin();
    await Promise.all([...groups].map(({ gone }) => gone));
  }

  private group(): Group {
    const names: string[] = [];
    let begin = (): void => undefined;
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const timer = setTimeout(begin, this.togetherMs);
    const gone = begun.then(async () => {
      clearTimeout(timer);
      if (this.next === group) this.next = null;
      await this.remove(this.namespace, names).catch((error: unknown) =>
        log.warn({ names, err: messageOf(error) }, 'an interface that nobody uses stays'),
      );
      for (const name of names) this.leaving.delete(name);
    });
    const group: Group = { names, begin, gone };
    return group;
  }
}
