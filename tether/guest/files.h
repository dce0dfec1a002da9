/* The file server (files.c). */
#ifndef FILES_H
#define FILES_H

#include "tether.h"

/* Which files: as the container's processes see them (with what is mounted), or the container's disk alone. */
enum files_view { FILES_AS_SEEN = 1, FILES_OF_DISK = 2 };

/* Starts a server; its requests come on `in`, its replies go to `out`. */
struct started files_start(uint8_t view, pid_t container);

/* Ends a freeze that a server asked for; nothing happens without one. */
void files_thaw(void);

#endif
