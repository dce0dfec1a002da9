/** How the embedded host is told from vSphere hosts of others: it is its virtual machines' switch, and gives its endpoints a gateway. */

/** `about.vendor` of the embedded host. */
export const EMBEDDED_VENDOR = 'Caisson';

/** Whether that host is the embedded one. @param about of its service content */
export const isEmbedded = (about: { vendor: string }): boolean => about.vendor === EMBEDDED_VENDOR;
