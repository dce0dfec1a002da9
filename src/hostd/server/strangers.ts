/** What a client that is not logged in may send. */

/** Bounds of a stranger's message: it is a login, or asks where to log in. */
export const STRANGER_BYTES = 64 * 1024;
export const STRANGER_ELEMENTS = 1000;
/** A request must arrive whole in this time to be answered. */
export const STRANGER_MS = 60_000;
