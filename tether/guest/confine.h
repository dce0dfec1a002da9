/* What the container's processes may do in this machine: devices, hidden paths, capabilities (confine.c). */
#ifndef CONFINE_H
#define CONFINE_H

#include "tether.h"

/* May processes of the container's cgroup open the usual devices only, or all? */
void confine_devices(bool on);

/* ---- inside the container's root ---- */
/* Hides a path: a file behind /dev/null, a directory behind an empty one. What is not there is fine. */
const char *confine_mask(const char *path, int empty);
const char *confine_read_only(const char *path);
/* The machine's devices, of which `machine` is the directory, in the container's /dev; /sys can be written to. */
const char *confine_open_up(int machine);
/* The container's own control group can be changed, and divided. */
const char *confine_open_cgroups(void);

/* Capabilities that are not kept can never be had. */
void confine_capabilities(uint64_t keep);

#endif
