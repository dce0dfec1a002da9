/** The words of mount options that are flags of mount(2). */

/** linux/mount.h. An option sets a flag, or clears the one that its opposite sets. */
export const FLAGS: Record<string, { flag: number; clear?: true }> = {
  ro: { flag: 1 },
  rw: { flag: 1, clear: true },
  nosuid: { flag: 2 },
  suid: { flag: 2, clear: true },
  nodev: { flag: 4 },
  dev: { flag: 4, clear: true },
  noexec: { flag: 8 },
  exec: { flag: 8, clear: true },
  sync: { flag: 16 },
  async: { flag: 16, clear: true },
  dirsync: { flag: 128 },
  noatime: { flag: 1024 },
  atime: { flag: 1024, clear: true },
  nodiratime: { flag: 2048 },
  diratime: { flag: 2048, clear: true },
  relatime: { flag: 2 ** 21 },
  norelatime: { flag: 2 ** 21, clear: true },
  strictatime: { flag: 2 ** 24 },
  nostrictatime: { flag: 2 ** 24, clear: true },
};

/** How mounts below it propagate; the last option wins. Those with an `r` include `MS_REC`. */
export const PROPAGATION: Record<string, number> = {
  unbindable: 2 ** 17,
  runbindable: 2 ** 17 + 2 ** 14,
  private: 2 ** 18,
  rprivate: 2 ** 18 + 2 ** 14,
  slave: 2 ** 19,
  rslave: 2 ** 19 + 2 ** 14,
  shared: 2 ** 20,
  rshared: 2 ** 20 + 2 ** 14,
};
