/** Long answers, read by the client page by page (RetrievePropertiesEx with `maxObjects`). */
import { randomUUID } from 'node:crypto';
import { holdForCaller } from '../../access/caller.js';
import { type Release, sizeOf } from '../../access/holdings.js';
import { fault } from '../../faults.js';

/** Answers that a client has begun to read. */
const MAX_PAGES = 100;

/** An answer of which a client has read a part. */
interface Rest {
  objects: object[];
  from: number;
  size: number;
  kept: Release;
}

export class ResultPages {
  private readonly rests = new Map<string, Rest>();

  /** RetrieveResult with the first page. @param size objects in a page */
  first(objects: object[], size: number): object {
    if (size >= objects.length) return { objects };
    return this.page({ objects, size, from: 0, kept: holdForCaller(sizeOf(objects)) });
  }

  /** RetrieveResult with the next page. @throws InvalidProperty for a token that is not known */
  next(token: string): object {
    const rest = this.rests.get(token);
    if (rest === undefined) throw fault('InvalidProperty', 'unknown token', { name: 'token' });
    this.rests.delete(token);
    return this.page(rest);
  }

  forget(token: string): void {
    this.rests.get(token)?.kept();
    this.rests.delete(token);
  }

  forgetAll(): void {
    for (const token of [...this.rests.keys()]) this.forget(token);
  }

  private page(rest: Rest): object {
    const { objects, size } = rest;
    const page = objects.slice(rest.from, rest.from + size);
    rest.from += size;
    if (rest.from >= objects.length) {
      rest.kept();
      return { objects: page };
    }
    for (const oldest of this.rests.keys()) if (this.rests.size >= MAX_PAGES) this.forget(oldest);
    const token = randomUUID();
    this.rests.set(token, rest);
    return { token, objects: page };
  }
}
