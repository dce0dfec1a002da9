/** The size of the warm pool. */
import { invalid } from '../common/errors.js';

export const DEFAULT_WARM_POOL = 2;
/** More would only take up memory, since the pool refills at half a second per VM. */
const MOST = 64;

/** The value of `--warm-pool`. @throws invalid */
export function warmPoolSize(text: string): number {
  const size = Number(text);
  if (!/^\d+$/.test(text) || size > MOST) throw invalid(`--warm-pool '${text}' is not a number from 0 to ${MOST}`);
  return size;
}
