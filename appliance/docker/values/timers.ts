/** Timers for times that may be far away. */

/** The longest delay that a timer takes. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** Calls `body` at a time that may be further away than that. @param at in milliseconds since 1970 */
export function endAt(at: number, body: () => void): { stop(): void } {
  let timer: NodeJS.Timeout;
  const wait = (): void => {
    const left = at - Date.now();
    timer = setTimeout(left > MAX_TIMER_MS ? wait : body, Math.min(Math.max(0, left), MAX_TIMER_MS));
  };
  wait();
  return { stop: () => clearTimeout(timer) };
}
