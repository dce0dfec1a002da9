/* Filesystems that the guest itself mounts in place of a volume's disk: memory, or what a server has (guest_mounts.c). */
#ifndef GUEST_MOUNTS_H
#define GUEST_MOUNTS_H

#include "common.h"

/* What mount(2) gets. Whoever made it owns the strings. */
struct guest_mount {
  char *volume; /* its name, for messages */
  char *type, *device, *data;
  uint64_t flags;
};

/* Mounts at a directory that is there. A server that does not answer costs MOUNT_MS. NULL or what failed, in Docker's words. */
const char *guest_mount_at(const char *path, const struct guest_mount *wanted);
/* Fills the volume mounted there, if it is empty, with what the root has at `inside`. NULL or what failed. */
const char *guest_fill(const char *path, const char *volume, const char *root, const char *inside);
/* Writes back what is in memory and unmounts. False: the server does not answer, and sync(2) would wait for it without end. */
bool guest_unmount(const char *path);

#endif
