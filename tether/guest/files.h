/* The file server (files.c). */
#ifndef FILES_H
#define FILES_H

#include "process.h"

struct container;


/* Starts a server of the container's files: its requests come on `in`, its replies go to `out`. `flag` is for files_ended, if it was started. */
struct started files_start(const struct container *c, enum files_view view, volatile uint8_t **flag);

/* The server has ended: a freeze of a filesystem that it made ends too. */
void files_ended(const struct container *c, volatile uint8_t *flag);

/* Ends whatever freeze there is of the container's filesystem and of its volumes. */
void files_thaw(const struct container *c);

#endif
