/*
 * Setting a container's root up, from inside it: all paths are the container's (setup.c; place.c resolves them). What returns text
 * returns NULL, or what failed.
 */
#ifndef SETUP_H
#define SETUP_H

#include "common.h"

/* The kernel's filesystems; `dev` and `sys` are the prepared trees. `shm_size` 0: no /dev/shm. */
const char *setup_system(uint64_t shm_size, int dev, int sys);
/* A filesystem in memory. Without a mode of its own it gets that of the directory it covers. */
const char *setup_tmpfs(const char *path, unsigned long flags, const char *options);
/* Binds a file over `path`, which is made (empty) when the image has none. */
const char *setup_bound(const char *source, const char *path, bool read_only);
/* The same for the file `name` of the directory `files`. */
const char *setup_file(const char *path, int files, const char *name, bool read_only);
/*
 * Binds a volume, the directory number `disk` in `volumes`, over `path`, which is made when the image has none. With `inside`, what is at
 * that path in the volume; a link in it does not lead out.
 */
const char *setup_volume(int volumes, uint32_t disk, const char *inside, const char *path, bool read_only);
/* Makes the working directory, and goes there. */
const char *setup_directory(const char *path);

#endif
