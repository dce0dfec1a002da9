/* A container's disks: its root and its volumes, seen from outside (root.c). What returns text returns NULL, or what failed. */
#ifndef ROOT_H
#define ROOT_H

#include "common.h"
#include "guest_mounts.h"

struct container;

#define MAX_DISKS (MAX_BUSES * MAX_UNITS)
/* Numbers of volumes: those of disks first, and then those that have none. */
#define MAX_VOLUMES (MAX_DISKS + MAX_GUEST_MOUNTS)

const char *mount_root(const struct container *c, uint32_t bus, uint32_t unit, bool read_only);
/* Of a root that is mounted: it may have `bytes` in all. */
const char *limit_root(const struct container *c, uint64_t bytes);
/* A volume's disk, once, however often the container has it. Its directory below c->volumes is named by volume_number. */
const char *mount_volume(struct container *c, uint32_t bus, uint32_t unit, bool read_only);
/* Once a volume that the guest mounts itself is mounted. */
const char *fill_guest_volume(const struct container *c, uint32_t number, const char *volume, const char *inside);
/* The same for a volume that has no disk here; its number is MAX_DISKS + `number`. */
const char *mount_guest_volume(struct container *c, uint32_t number, const struct guest_mount *wanted);
const char *mount_served_volume(struct container *c, uint32_t number, const struct served_volume *wanted);
/* Where a volume's disk is mounted for writing. NULL: it is not, and `failed` says so. */
const char *volume_to_serve(const struct container *c, uint32_t bus, uint32_t unit, char path[PATH_SIZE], const char **failed);
/* Forgets all disks of a container in this process's own mount namespace: for a child that outlives their unmounting. */
void forget_mounts(const struct container *c);
static inline uint32_t volume_number(uint32_t bus, uint32_t unit) { return bus * MAX_UNITS + unit; }
/* The volumes, and then the root. */
void unmount_root(struct container *c);

#endif
