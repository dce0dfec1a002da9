/* Paths of the container's root that something is mounted at: place.c. */
#pragma once
#include "tether.h"

#define PLACE_SIZE 4096

/*
 * What `path` means inside the root, links followed as text: a link of /proc that the kernel would follow out of the root leads to
 * nothing else but what it says. What is not there is taken as it stands. NULL or what is wrong.
 */
const char *place_find(const char *path, char found[PLACE_SIZE]);
void place_directories(const char *found); /* makes the path, and those above it */
void place_parents(const char *found);
const char *place_problem(void); /* of errno, for a mount, in runc's words */

/*
 * As Docker's init layer (moby, daemon/initlayer): what is no directory at these paths, or on the way to them, is taken away, and what is
 * missing is made. Once, before the container starts for the first time: a /.dockerenv that is younger than the container, which was
 * created at `created` in Unix seconds, says that it was done. NULL or what failed.
 */
const char *place_init_layer(uint64_t created);
