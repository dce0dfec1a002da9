/** What a client that is not logged in may send. */

/** Largest message from a stranger: it is either a login or asks where to log in. */
export const STRANGER_BYTES = 64 * 1024;
export const STRANGER_ELEMENTS = 1000;
/** A request must arrive completely within this time to be answered. */
export const STRANGER_MS = 60_000;
