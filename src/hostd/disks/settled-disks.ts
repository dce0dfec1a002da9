/**
 * Opening disks with what they stand on, and putting a disk into another one's place, exclude each other: a chain that changes while it is
 * followed would be none.
 */
let followers = 0;
let changing: Promise<void> | null = null;
let wake: (() => void) | null = null;

/** Runs `body` while no disk takes another one's place. */
export async function whileSettled<T>(body: () => Promise<T>): Promise<T> {
  while (changing !== null) await changing;
  followers++;
  try {
    return await body();
  } finally {
    if (--followers === 0) wake?.();
  }
}

/** Runs `body`, which must be short, while nobody follows a chain of disks. */
export async function whileUnfollowed<T>(body: () => Promise<T>): Promise<T> {
  while (changing !== null) await changing;
  let over!: () => void;
  changing = new Promise((resolve) => {
    over = resolve;
  });
  try {
    while (followers > 0)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    return await body();
  } finally {
    [changing, wake] = [null, null];
    over();
  }
}
