/* What a container's processes may do in this machine: devices, hidden paths, capabilities (confine.c). */
#ifndef CONFINE_H
#define CONFINE_H

#include "cgroup.h"

/* Lets the group's processes open only the usual devices; or, not `on`, all of them. */
void confine_devices(const struct cgroup *group, bool on);

/* ---- inside the container's root ---- */
/* Hides a path: a file behind /dev/null, a directory behind an empty one. One that does not exist is fine, here and below. */
const char *confine_mask(const char *path, int empty);
const char *confine_read_only(const char *path);
/* Copies the machine's devices, from the directory `machine`, to the container's /dev, and makes /sys writable. */
const char *confine_open_up(int machine);
/* Makes the container's own control group writable. */
const char *confine_open_cgroups(void);

/* Drops the others for good. */
void confine_capabilities(uint64_t keep);

#endif
