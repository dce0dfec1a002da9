/** Random numbers that are the same each time, for tests that try many cases. */

/** An integer from 0 to below the limit. */
export type Random = (limit: number) => number;

/** The same numbers for the same seed (mulberry32, in the public domain). */
export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
}
