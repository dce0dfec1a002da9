/** A process that is killed at one of its changes to files: that one is not made, or cut short, and none after it. */
import fs, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

/** Calls that change files. Those of a handle are changed at its prototype. */
const CALLS = ['rename', 'rm', 'link', 'writeFile', 'copyFile'];
const OF_HANDLES = ['write', 'truncate', 'writeFile'];

/** A change of another kind, which is counted with those to files. */
export type Change = <T>(make: () => Promise<T>) => Promise<T>;

/**
 * Runs `body`, which ends with an error at its `last`th change, counted from 1.
 * @param torn whether half of what a write is to write is written then, and a change of another kind made
 * @returns the number of changes that were tried
 */
export async function killedAtWrite(
  last: number,
  torn: boolean,
  body: (change: Change) => Promise<unknown>,
): Promise<number> {
  let changes = 0;
  const dead = (): never => {
    throw new Error('killed');
  };
  const handle = await fs.open('/dev/null', 'r');
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  type Calls = Record<string, (...args: unknown[]) => unknown>;
  const kept = [
    ...CALLS.map((name) => ({ place: fs as unknown as Calls, name })),
    ...OF_HANDLES.map((name) => ({ place: prototype as unknown as Calls, name })),
  ].map(({ place, name }) => ({ place, name, real: place[name]! }));
  for (const { place, name, real } of kept)
    place[name] = async function (this: unknown, ...args: unknown[]): Promise<unknown> {
      if (++changes < last) return real.apply(this, args);
      if (changes === last && torn && name === 'write' && Buffer.isBuffer(args[0])) {
        const [buffer, offset, length, position] = args as [Buffer, number, number, number];
        await real.call(this, buffer, offset, Math.floor(length / 2), position);
      }
      return dead();
    };
  syncBuiltinESMExports();
  try {
    const change: Change = async (make) => {
      if (++changes < last) return make();
      if (changes === last && torn) await make();
      return dead();
    };
    await body(change).catch((error: unknown) => {
      if (changes < last) throw error;
    });
    return changes;
  } finally {
    for (const { place, name, real } of kept) place[name] = real;
    syncBuiltinESMExports();
  }
}
