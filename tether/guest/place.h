/* Paths in a container's root where something is mounted; all of this runs inside that root (place.c). */
#ifndef PLACE_H
#define PLACE_H

#include "common.h"

#define PLACE_SIZE 4096

/*
 * Resolves `path`, reading links as text: the kernel would follow some links of /proc out of the root. Components that do not exist stay
 * as they are. NULL or what is wrong.
 */
const char *place_find(const char *path, char found[PLACE_SIZE]);
void place_directories(const char *found); /* makes the directory, and those above it */
void place_parents(const char *found);
const char *place_problem(void); /* the text of errno after a mount, in runc's words */

/*
 * Makes what Docker's init layer has (moby, daemon/initlayer): anything but a directory is removed at its paths and on the way to them, and
 * what is missing is made. This is done once, before the container's first start: a /.dockerenv that is younger than the container,
 * `created` in Unix seconds, means that it was done. NULL or what failed.
 */
const char *place_init_layer(uint64_t created);

#endif
