/** Waiting that the clock ends. */

/**
 * What `promise` gives, or what `late` gives when that takes longer. `late` may throw.
 * What becomes of the promise later is nobody's concern any more.
 * @param ms milliseconds
 */
export async function within<T, L>(promise: Promise<T>, ms: number, late: () => L): Promise<T | L> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<L>((resolve, reject) => {
    timer = setTimeout(() => {
      try {
        resolve(late());
      } catch (error) {
        reject(error);
      }
    }, ms);
  });
  try {
    return await Promise.race([promise, over]);
  } finally {
    clearTimeout(timer);
  }
}
