/** What a client that is not logged in may send. */

/** A message of a stranger: a login, or a question where to log in. */
export const STRANGER_BYTES = 64 * 1024;
export const STRANGER_ELEMENTS = 1000;
/** A request that is to be answered has come whole in this time. */
export const STRANGER_MS = 60_000;
