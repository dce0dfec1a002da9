/* Filesystems that the guest itself mounts in place of a volume's disk: memory, or what a server has (guest_mounts.c). */
#ifndef GUEST_MOUNTS_H
#define GUEST_MOUNTS_H

#include "hidden_net.h"

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
/* A volume whose disk another machine has. Whoever made it owns the strings. */
struct served_volume {
  char *volume; /* its name, for messages */
  char *server; /* its address */
  struct hidden_card card;
};

/* The same for a volume that another machine serves, which may be about to begin: SERVED_MS at most. */
const char *served_mount_at(const char *path, const struct served_volume *wanted);
/* The name of a client's machine, which the server knows it by. `length` of its array. */
#define CLIENT_NAME_SIZE 40
void served_client_name(char name[CLIENT_NAME_SIZE], const char *mac);

/* Writes back what is in memory and unmounts. False: the server does not answer, and sync(2) would wait for it without end. */
bool guest_unmount(const char *path);

#endif
